// Two peers in processes of their own, on one host or on two of a lab, and the signaling between them.
import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import path from "node:path";
import type { PeerInfo, PeerToHub } from "@waybill/sdk/protocol";

export type Found = {
  readonly bytes: number;
  /** From the first byte to the last. */
  readonly seconds: number;
  readonly perSecond: readonly number[];
  /** Of the taker and the sender. */
  readonly rssBytes: readonly [number, number];
  readonly connections: number;
};

export type Way = "ours" | "bare";

type Line =
  | { readonly type: "here"; readonly peer: PeerInfo }
  | (Omit<Found, "rssBytes"> & { readonly type: "found"; readonly rssBytes: number })
  | { readonly type: "sent"; readonly rssBytes: number }
  | Extract<PeerToHub, { type: "signal" | "relay" | "relay.usage" }>;

/** Runs one transfer; `on` gives the words that run a command on the sender's and the taker's host. */
export async function transfer(init: {
  readonly way: Way;
  readonly mib: number;
  readonly seconds: number;
  readonly on?: (side: "send" | "take", command: readonly string[]) => readonly string[];
}): Promise<Found> {
  const { way, mib, seconds, on = (_, command) => command } = init;
  const children = new Map<"send" | "take", ChildProcess>();
  const peers = new Map<"send" | "take", PeerInfo>();
  const found = Promise.withResolvers<Omit<Found, "rssBytes"> & { rssBytes: number }>();
  const sent = Promise.withResolvers<number>();
  const tell = (side: "send" | "take", message: unknown) =>
    children.get(side)?.stdin?.write(`${JSON.stringify(message)}\n`);
  const hear = (side: "send" | "take", line: Line) => {
    const other = side === "send" ? "take" : "send";
    if (line.type === "here") {
      peers.set(side, line.peer);
      if (peers.size < 2) return;
      for (const [one, peer] of peers) {
        tell(one === "send" ? "take" : "send", { type: "presence", event: "joined", peer });
      }
    } else if (line.type === "found") found.resolve(line);
    else if (line.type === "sent") sent.resolve(line.rssBytes);
    else if (line.type !== "relay.usage") {
      const from = peers.get(side);
      const { type, data } = line;
      tell(other, { type, data, from: from?.peerId, role: "member", name: side });
    }
  };
  const program = path.join(import.meta.dirname, "peer.ts");
  for (const side of ["take", "send"] as const) {
    const node = [process.execPath, program];
    const [command = "", ...words] = on(side, [...node, way, side, String(mib), String(seconds)]);
    const child = spawn(command, words, { stdio: ["pipe", "pipe", "inherit"] });
    children.set(side, child);
    createInterface({ input: child.stdout }).on("line", (line) => hear(side, JSON.parse(line)));
    child.on("exit", (code) => {
      const error = new Error(`the ${way} peer that ${side}s ended with ${code}`);
      found.reject(error);
      sent.reject(error);
    });
  }
  try {
    const limit = AbortSignal.timeout((seconds + 120) * 1000);
    limit.addEventListener("abort", () => found.reject(new Error(`${way} took too long`)));
    sent.promise.catch(() => undefined);
    const { rssBytes, ...rest } = await found.promise;
    return { ...rest, rssBytes: [rssBytes, await sent.promise] };
  } finally {
    found.promise.catch(() => undefined);
    for (const child of children.values()) child.kill("SIGKILL");
  }
}
