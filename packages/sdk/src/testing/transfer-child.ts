// A process of its own that pushes or pulls, to be killed by tests: `push HUB ROOM PATH NAME` or
// `pull HUB ROOM REF DIR`. Prints a line of JSON per progress, and one with `done` at the end.
import { writeSync } from "node:fs";
import { pullArtifact, pushArtifact } from "../client/index.ts";
import { HubClient } from "../hub-client/index.ts";
import { RoomId, decodeValue } from "../protocol/index.ts";

const [verb, url = "", roomName, what = "", where = ""] = process.argv.slice(2);
const room = decodeValue(RoomId, roomName, "room");
const hub = new HubClient({ url });
// Synchronous, so that a line is out before the process can be killed.
const print = (line: unknown) => writeSync(1, `${JSON.stringify(line)}\n`);
const onProgress = (progress: object) => print(progress);
const result =
  verb === "push"
    ? await pushArtifact(hub, { room, path: what, name: where, onProgress })
    : await pullArtifact(hub, { room, ref: what, dir: where, onProgress });
print({ done: true, ...result, maxRssMib: process.resourceUsage().maxRSS / 1024 });
