// Translates a text: node translate.mjs "A dog runs." [HOST:PORT]
// Everything it knows of the server stands in the .proto files; no code was generated.
import { fileURLToPath } from "node:url";
import grpc from "@grpc/grpc-js";
import protoLoader from "@grpc/proto-loader";

const DEADLINE_MS = 10_000;
const PROTOS = fileURLToPath(new URL("../../protos", import.meta.url));

function loadService() {
  const definition = protoLoader.loadSync("beamstep/v1/translation.proto", {
    includeDirs: [PROTOS],
    enums: String,
    defaults: true,
  });
  return grpc.loadPackageDefinition(definition).beamstep.v1.TranslationService;
}

function translate(text, address) {
  const TranslationService = loadService();
  const client = new TranslationService(address, grpc.credentials.createInsecure());
  const call = { deadline: Date.now() + DEADLINE_MS };
  return new Promise((resolve, reject) => {
    client.translateText({ text }, call, (error, answer) => (error ? reject(error) : resolve(answer)));
  }).finally(() => client.close());
}

const [text, address = "localhost:50051"] = process.argv.slice(2);
if (text === undefined) {
  console.error('usage: node translate.mjs "TEXT" [HOST:PORT]');
  process.exit(2);
}
try {
  const { hypotheses, model } = await translate(text, address);
  console.log(hypotheses[0].text);
  console.error(`${model.name} ${model.version}, score ${hypotheses[0].decoding.score.toFixed(3)}`);
} catch (error) {
  console.error(`${address}: ${grpc.status[error.code] ?? "error"}: ${error.details ?? error.message}`);
  process.exitCode = 1;
}
