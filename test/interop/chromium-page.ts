// What the page of chromium.test.ts runs: a viewer in the browser, its findings on `window`.
import { createClient } from "@waybill/sdk";

type Report = { seqs: number[]; viaWebRtc: number; paths: string[]; state: string; error: string };
type Task = { hub: string; room: string; token: string; job: string };

const report: Report = { seqs: [], viaWebRtc: 0, paths: [], state: "", error: "" };
Object.assign(globalThis, { report });

async function watch({ job, ...init }: Task): Promise<void> {
  await using client = await createClient(init);
  const onPath = ({ kind }: { kind: string }) => {
    if (report.paths.at(-1) !== kind) report.paths.push(kind);
  };
  for await (const event of client.watch(job, { onPath })) {
    report.seqs.push(event.seq);
    if (report.paths.at(-1) === "webrtc") report.viaWebRtc += 1;
    if (event.type === "state") report.state = event.state;
  }
}

const task = JSON.parse(decodeURIComponent(location.hash.slice(1))) as Task;
watch(task).catch((error: unknown) => {
  report.error = String(error);
});
