// What the scripts share. All it knows of the server stands in the .proto files; no code was generated.
import { fileURLToPath } from "node:url";
import grpc from "@grpc/grpc-js";
import protoLoader from "@grpc/proto-loader";

const DEADLINE_MS = 10_000;
const PROTOS = fileURLToPath(new URL("../../protos", import.meta.url));

export function openTranslation(address) {
  const definition = protoLoader.loadSync("beamstep/v1/translation.proto", {
    includeDirs: [PROTOS],
    enums: String,
    defaults: true,
  });
  const { TranslationService } = grpc.loadPackageDefinition(definition).beamstep.v1;
  return new TranslationService(address, grpc.credentials.createInsecure());
}

export function callOptions() {
  return { deadline: Date.now() + DEADLINE_MS };
}

export function readArguments(script) {
  const [text, address = "localhost:50051"] = process.argv.slice(2);
  if (text === undefined) {
    console.error(`usage: node ${script} "TEXT" [HOST:PORT]`);
    process.exit(2);
  }
  return { text, address };
}

export function reportAnswer({ hypotheses, model }) {
  console.error(`${model.name} ${model.version}, score ${hypotheses[0].decoding.score.toFixed(3)}`);
}

export function reportFailure(address, error) {
  console.error(`${address}: ${grpc.status[error.code] ?? "error"}: ${error.details ?? error.message}`);
  process.exitCode = 1;
}
