// A viewer of bench:live, in a process (and network) of its own: submits jobs on order, watches each to its end, and
// answers how late every line and the completion were. Times are of the machine's own clocks, which all processes share.
import { createClient } from "@waybill/sdk";
import { closeWebRtc, loadWebRtc } from "../../packages/waybill/src/webrtc.ts";

export type ViewerInit = {
  readonly hub: string;
  readonly room: string;
  readonly token: string;
  readonly path: "webrtc" | "relay";
};

export type JobOrder = { readonly code: string; readonly lines: number };

export type JobAnswer = {
  /** From printed to the callback, in milliseconds: those that came by the path that was asked for. */
  readonly lineMs: readonly number[];
  /** From the `completed` event's and the `published` event's own time to the callback. */
  readonly completedMs: number;
  readonly sincePublishedMs: number;
  /** From the trainer's last instruction to the callback of the `result` event, and of the last predictions behind it. */
  readonly resultMs: number;
  readonly predictedMs: number;
};

const init = JSON.parse(process.argv[2] ?? "{}") as ViewerInit;
const RTCPeerConnection = init.path === "webrtc" ? await loadWebRtc() : undefined;
const client = await createClient({
  ...init,
  ...(RTCPeerConnection === undefined ? {} : { RTCPeerConnection }),
});

/** `CLOCK_MONOTONIC`, which trainers print, too. */
const now = () => Number(process.hrtime.bigint()) / 1e6;

async function run({ code, lines }: JobOrder): Promise<JobAnswer> {
  const config = { lines };
  const { job } = await client.submit({ code, config, command: ["node", "train.mjs"] });
  const lineMs: number[] = [];
  let via = "stored";
  let publishedAt = Number.NaN;
  let endingAt = Number.NaN;
  let resultMs = Number.NaN;
  let predictedMs = Number.NaN;
  const onPath = ({ kind }: { kind: string }) => (via = kind);
  for await (const event of client.watch(job, { onPath })) {
    const arrived = now();
    if (event.type === "metric" && typeof event.data["printed"] === "number") {
      if (via === init.path) lineMs.push(arrived - event.data["printed"]);
    } else if (event.type === "metric" && typeof event.data["ending"] === "number") {
      endingAt = event.data["ending"];
    } else if (event.type === "result") resultMs = arrived - endingAt;
    else if (event.type === "predictions") predictedMs = arrived - endingAt;
    else if (event.type === "published") publishedAt = Date.parse(event.time);
    else if (event.type === "state" && event.state === "completed") {
      const at = Date.now();
      const completedMs = at - Date.parse(event.time);
      return { lineMs, completedMs, sincePublishedMs: at - publishedAt, resultMs, predictedMs };
    }
  }
  throw new Error(`job ${job} did not complete`);
}

process.on("message", (order: JobOrder) => {
  run(order).then(
    (answer) => process.send?.(answer),
    (error: unknown) => {
      console.error(error);
      process.exit(1);
    },
  );
});
process.on("disconnect", () => {
  void client.close().finally(closeWebRtc);
});
process.send?.("ready");
