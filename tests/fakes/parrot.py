"""A process that can be asked: it repeats, and fails when told to; see benchmarks.peers.other_process."""

from benchmarks.peers.apart.conversation import answer_questions


def repeat(words: str) -> str:
    print("libraries print things")
    return words


def fail() -> None:
    raise ValueError("no")


if __name__ == "__main__":
    answer_questions({"repeat": repeat, "fail": fail})
