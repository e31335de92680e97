"""The speed table says what was measured, how far it spread, and whether the target is met."""

import pytest
import typer

from benchmarks import engine_table, environment
from benchmarks.bare_loop import TimedModel
from benchmarks.clients import Answered, ClientProcess, Load
from benchmarks.comparisons import ROWS, Outcome, Row
from benchmarks.engine_table import SUBJECTS, figure, result_of, table
from benchmarks.quiet import quietest
from benchmarks.workload import Workload
from serving.config import ServerConfig
from serving.decoding.options import DecodingOptions
from serving.decoding.search import decode
from serving.session import SessionConfig
from serving.tasks.translation import Translation
from tests.fakes.bundles import write_bundle
from tests.fakes.markov import SPECIAL, MarkovModel, random_table, source
from tests.fakes.planned import open_planned
from tests.fakes.threads import ServerThread


class Looked:
    """Stands in for `Onlookers` with a share known beforehand."""

    def __init__(self, share: float) -> None:
        self.share = lambda: share


def row(*, at_most: bool) -> Row:
    return Row(9, "something", "%", 10, at_most, lambda _: Outcome(1.0, {}))


def test_a_target_is_a_most_or_a_least():
    assert row(at_most=True).met(10)
    assert not row(at_most=True).met(10.1)
    assert row(at_most=False).met(10)
    assert not row(at_most=False).met(9.9)


def test_a_result_is_the_median_of_its_repeats():
    repeats = [(0.01 * value, Outcome(value, {"part": 2 * value})) for value in (9.0, 30.0, 11.0)]
    result = result_of(row(at_most=True), SUBJECTS["shipped"], repeats)
    assert (result.median, result.met, result.parts) == (11.0, False, {"part": 22.0})
    assert result.others == pytest.approx(0.3)
    assert [next(iter(column.cells)) for column in table([result]).columns] == [
        *("9", "something", "translation-en-de/1", "11.0 %", "9.000..30.0", "≤ 10 %", "NO?", "30 %", "part 22.0")
    ]


def test_repeats_in_which_others_took_the_machine_are_taken_again(monkeypatch):
    shares = iter([0.5, 0.02, 0.4, 0.03])
    monkeypatch.setattr(environment, "Onlookers", lambda _: Looked(next(shares)))
    values = iter([1.0, 2.0, 3.0, 4.0])
    kept = quietest(lambda: Outcome(next(values), {}), [], 2)
    assert [(share, outcome.value) for share, outcome in kept] == [(0.02, 2.0), (0.03, 4.0)]


def test_where_it_never_gets_quiet_the_quietest_repeats_count(monkeypatch):
    shares = iter([0.5, 0.3, 0.9, 0.2])
    monkeypatch.setattr(environment, "Onlookers", lambda _: Looked(next(shares)))
    kept = quietest(lambda: Outcome(0.0, {}), [], 2)
    assert [share for share, _ in kept] == [0.2, 0.3]


def test_figures_have_about_three_digits():
    assert [figure(value) for value in (1.23456, 12.3456, 1234.56)] == ["1.235", "12.3", "1235"]
    assert figure(12, "us") == "12.0 us"


def test_every_row_has_a_number_of_its_own_and_9_is_the_memory_commands():
    assert [each.number for each in ROWS] == [1, 2, 3, 4, 5, 6, 7, 8, 10]


def test_an_unknown_row_is_refused():
    with pytest.raises(typer.BadParameter, match="given '11'; allowed: some of 1,2"):
        engine_table.engine_table(rows="1,11")


def test_the_environment_names_the_machine_and_the_code():
    assert set(environment.describe()) == {"processor", "versions", "code", "load before"}


def test_the_time_between_steps_is_counted_from_one_to_the_next():
    model = TimedModel(MarkovModel([random_table(0, 6)]))
    options = DecodingOptions(2, 4, 6, SPECIAL, min_length=4)
    decode(model, [source()], options)
    assert (len(model.graph_ns), len(model.between_ns)) == (5, 4)
    assert 0 < model.share() < 1
    model.begin()
    assert (model.graph_ns, model.between_ns) == ([], [])


def test_a_load_counts_what_came_after_its_beginning():
    load = Load((Answered(0.0, 3.0, 10), Answered(1.0, 5.0, 20), Answered(3.0, 6.0, 30)), began=2.0)
    assert load.per_second == pytest.approx(3 / 4)
    assert load.tokens_per_second == pytest.approx(15)
    assert load.median_s == 3.0


def test_clients_send_their_next_request_when_the_last_was_answered(tmp_path):
    workload = Workload(Translation(write_bundle(tmp_path, "translation")), ends=True)
    requests = workload.requests([8, 9, 10])
    config = ServerConfig(tmp_path, host="127.0.0.1", port=0, session=SessionConfig(step_threads=1))
    with ServerThread(config, open_planned) as server, ClientProcess(server.address) as clients:
        load = clients.measure(requests, clients=2, skip=3, count=6, first=workload.requests([4, 4]))
        assert len(load.answers) == 6
        assert {answer.tokens for answer in load.answers} <= {9, 10, 11}  # with `eos`
        with clients.background(requests, clients=2):
            assert server.server.engine is not None
            assert server.server.engine.counters.finished > 9
        too_many = [*requests, *workload.requests([99])]
        with pytest.raises(RuntimeError, match=r"a client failed: InvalidRequest.*max_length"):
            clients.measure(too_many, clients=1, skip=0, count=10)
