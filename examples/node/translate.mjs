// Translates a text: node translate.mjs "A dog runs." [HOST:PORT]
import { callOptions, openTranslation, readArguments, reportAnswer, reportFailure } from "./client.mjs";

function translate(text, address) {
  const client = openTranslation(address);
  return new Promise((resolve, reject) => {
    client.translateText({ text }, callOptions(), (error, answer) => (error ? reject(error) : resolve(answer)));
  }).finally(() => client.close());
}

const { text, address } = readArguments("translate.mjs");
try {
  const answer = await translate(text, address);
  console.log(answer.hypotheses[0].text);
  reportAnswer(answer);
} catch (error) {
  reportFailure(address, error);
}
