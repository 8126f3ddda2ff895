// A hub with its embedded store in a process that tells what it uses.
import { type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { cleanEnvironment } from "../../test/support/waybill-process.ts";
import { WAYBILL } from "../setup/hub.ts";
import { type Scope, start } from "../setup/scope.ts";
import type { ProcessFigures } from "./process-figures.ts";

export const ADMIN_TOKEN = "bench-admin";

export type FiguredHub = {
  readonly child: ChildProcess;
  readonly url: string;
  readonly s3: { readonly endpoint: string; readonly credentialsFile?: string };
};

/** Its data stay in the scope: a second one on the same ports goes on with them. */
export async function startFiguredHub(
  scope: Scope,
  ports: { readonly hub: number; readonly s3: number },
): Promise<FiguredHub> {
  const figures = fileURLToPath(new URL("process-figures.ts", import.meta.url));
  const argv = [process.execPath, "--import", figures, WAYBILL, "hub", "--json"];
  argv.push("--port", String(ports.hub), "--s3-port", String(ports.s3));
  argv.push("--data", scope.path("hub"));
  const child = start(argv, {
    env: cleanEnvironment({ WAYBILL_ADMIN_TOKEN: ADMIN_TOKEN }),
    stdio: ["ignore", "pipe", "inherit", "ipc"],
  });
  if (child.stdout === null) throw new Error("no output of the hub to read");
  const lines = createInterface({ input: child.stdout });
  const [first] = (await once(lines, "line")) as [string];
  lines.on("line", () => undefined);
  const { url, s3 } = JSON.parse(first) as Pick<FiguredHub, "url" | "s3">;
  return { child, url, s3 };
}

/** What its process used until now. */
export async function figuresOf({ child }: FiguredHub): Promise<ProcessFigures> {
  const answer = once(child, "message") as Promise<[ProcessFigures]>;
  child.send("figures");
  return (await answer)[0];
}
