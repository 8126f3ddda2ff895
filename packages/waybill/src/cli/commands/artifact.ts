// waybill artifact …: what a room holds.
import { Command } from "commander";
import type { Context } from "../context.ts";
import { withRoom } from "../options.ts";
import { formatBytes, formatTime, table } from "../render/format.ts";
import type { Runner } from "../runner.ts";
import { artifactHoldersCommand } from "./artifact-holders.ts";

export function artifactCommand(run: Runner): Command {
  const artifact = new Command("artifact").description("datasets and models that a room holds");
  artifact.addCommand(
    withRoom(new Command("ls"))
      .description("artifacts of the room, newest first")
      .action(run<[]>(list)),
  );
  artifact.addCommand(
    withRoom(new Command("show"))
      .argument("<ref>", "artifact id, a prefix of at least 8 digits, or a name")
      .description("one artifact")
      .action(run<[string]>(show)),
  );
  artifact.addCommand(artifactHoldersCommand(run));
  return artifact;
}

async function list(context: Context): Promise<void> {
  const room = await context.room();
  const hub = await context.client(room);
  const { artifacts } = await hub.call(
    "listArtifacts",
    { params: { room } },
    { signal: context.signal },
  );
  const newest = artifacts.toSorted((a, b) => b.createdAt.localeCompare(a.createdAt));
  for (const one of newest) context.output.record(one);
  if (newest.length === 0) {
    context.output.line(`room ${room} holds nothing yet: waybill push PATH --room ${room}`);
    return;
  }
  const rows = newest.map((one) => [
    one.artifact.slice(0, 12),
    one.name,
    one.kind,
    String(one.files),
    formatBytes(one.bytes),
    formatTime(one.createdAt),
    one.expiresAt === undefined ? "kept" : formatTime(one.expiresAt),
  ]);
  context.output.line(
    table([["ARTIFACT", "NAME", "KIND", "FILES", "SIZE", "CREATED (UTC)", "EXPIRES"], ...rows]),
  );
}

async function show(context: Context, [ref]: [string]): Promise<void> {
  const room = await context.room();
  const hub = await context.client(room);
  // Signed reads come only when they are asked for; they would be no one's to print.
  const { reading: _, ...record } = await hub.call(
    "resolveArtifact",
    { params: { room, ref } },
    { signal: context.signal },
  );
  context.output.record(record);
  for (const [key, value] of Object.entries(record))
    context.output.line(`${key.padEnd(14)} ${String(value)}`);
}
