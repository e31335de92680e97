// Translates a text and prints what is certain while the rest is still open: node stream.mjs "A dog runs." [HOST:PORT]
import { callOptions, openTranslation, readArguments, reportAnswer, reportFailure } from "./client.mjs";

async function streamTranslation(text, address, onCommitted) {
  const client = openTranslation(address);
  try {
    let answer = null;
    for await (const message of client.streamTranslateText({ text }, callOptions())) {
      onCommitted(message.committedText);
      answer = message.answer; // null in every message but the last
    }
    return answer;
  } finally {
    client.close();
  }
}

const { text, address } = readArguments("stream.mjs");
try {
  const answer = await streamTranslation(text, address, (committed) => process.stdout.write(committed));
  process.stdout.write("\n");
  reportAnswer(answer);
} catch (error) {
  reportFailure(address, error);
}
