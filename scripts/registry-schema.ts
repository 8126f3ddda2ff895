// Writes docs/protocol/registry-2.schema.json (or that of a later format) as the hub serves it:
//   node --conditions=@waybill/source scripts/registry-schema.ts
import { REGISTRY_FORMAT_VERSION } from "@waybill/sdk/protocol";
import { writeFileSync } from "node:fs";
import { registrySchema } from "../packages/waybill/src/hub/openapi/registry-schema.ts";

const name = `registry-${REGISTRY_FORMAT_VERSION}.schema.json`;
const file = new URL(`../docs/protocol/${name}`, import.meta.url);
writeFileSync(file, `${JSON.stringify(registrySchema(), null, 2)}\n`);
