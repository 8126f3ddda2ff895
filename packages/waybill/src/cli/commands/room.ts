// waybill room …: rooms, invites and worker keys.
import os from "node:os";
import { Command, Option } from "commander";
import { generateIdentityKey } from "@waybill/sdk/hub-client";
import { InviteRole, RoomId, WaybillError, cryptoRandom, decodeValue } from "@waybill/sdk/protocol";
import type { Context } from "../context.ts";
import { encodeWorkerKey, saveRoom, savedRooms } from "../credentials.ts";
import { address, wholeNumber, withCommon, withRoom } from "../options.ts";
import { formatTime, table } from "../render/format.ts";
import type { Runner } from "../runner.ts";
import { policyCommand, usageCommand } from "./room-policy.ts";
import { retentionCommand } from "./room-retention.ts";

export function roomCommand(run: Runner): Command {
  const room = new Command("room").description("create rooms, invite people and workers into them");
  room.addCommand(
    withCommon(new Command("create"))
      .argument("<name>", "1–40 of a–z, 0–9 and inner hyphens")
      .option(
        "--admin-token <token>",
        "what a hub that restricts this asks for (WAYBILL_ADMIN_TOKEN)",
      )
      .description("create a room; prints its owner token, once")
      .action(run<[string], { adminToken?: string }>(createRoom)),
  );
  room.addCommand(
    withCommon(new Command("ls"))
      .description("rooms this machine has tokens for")
      .action(run<[]>(listRooms)),
  );
  room.addCommand(
    withRoom(new Command("show"))
      .argument("[name]")
      .description("a room and who is present")
      .action(run<[string | undefined]>(showRoom)),
  );
  room.addCommand(
    withRoom(new Command("invite"))
      .addOption(
        new Option("--role <role>", "what the code makes of who uses it")
          .choices(["member", "worker", "viewer"])
          .default("member"),
      )
      .description("print a single-use code, good for 10 minutes")
      .action(run<[], { role: string }>(invite)),
  );
  room.addCommand(
    withCommon(new Command("join"))
      .argument("<code>", "like ABCD-2345")
      .option("--name <name>", "how others see this machine", os.hostname())
      .description("exchange a code for a token bound to this machine's key")
      .action(run<[string], { name: string }>(join)),
  );
  room.addCommand(
    withCommon(new Command("moved"))
      .argument("<name>")
      .requiredOption("--from <url>", "the hub's old address", address)
      .description("use the saved tokens of a room at its hub's new address")
      .action(run<[string], { from: string }>(moved)),
  );
  room.addCommand(policyCommand(run));
  room.addCommand(usageCommand(run));
  room.addCommand(retentionCommand(run));
  room.addCommand(keyCommand(run));
  return room;
}

function keyCommand(run: Runner): Command {
  const key = new Command("key").description("long-lived worker keys for pods (WAYBILL_KEY)");
  key.addCommand(
    withRoom(new Command("create"))
      .option("--label <text>", "what it is for", "pods")
      .option("--days <n>", "how long it is good for", wholeNumber(1), 365)
      .description("print a new WAYBILL_KEY; it is shown once and stored nowhere")
      .action(run<[], { label: string; days: number }>(createKey)),
  );
  key.addCommand(
    withRoom(new Command("ls")).description("the room's worker keys").action(run<[]>(listKeys)),
  );
  key.addCommand(
    withRoom(new Command("revoke"))
      .argument("<id>")
      .description("make a worker key useless")
      .action(run<[string]>(revokeKey)),
  );
  return key;
}

async function createRoom(
  context: Context,
  [name]: [string],
  options: { adminToken?: string },
): Promise<void> {
  const { output, signal } = context;
  // Made first, so that a folder that cannot be written is known before the room exists.
  await context.identity();
  // Gets the token again when the first answer was lost on its way.
  const nonce = Buffer.from(cryptoRandom(16)).toString("hex");
  const adminToken = options.adminToken ?? process.env["WAYBILL_ADMIN_TOKEN"];
  const body = {
    name: decodeValue(RoomId, name, `room "${name}"`),
    nonce,
    ...(adminToken === undefined ? {} : { adminToken }),
  };
  const created = await context.publicClient().call("createRoom", { body }, { signal });
  // It is given once: shown although saving fails, and saved although nobody reads what is shown.
  const [saved] = await Promise.allSettled([
    saveRoom(context.dataDir, {
      hub: context.hubUrl,
      room: created.room,
      role: "owner",
      token: created.token,
    }),
  ]);
  output.record(created);
  output.line(`room ${created.room} created; its owner token, for other machines:`);
  output.line(`  WAYBILL_TOKEN=${created.token}`);
  if (saved.status === "rejected") throw saved.reason;
  output.line(`  next: waybill worker --room ${created.room}`);
}

async function listRooms(context: Context): Promise<void> {
  const rooms = (await savedRooms(context.dataDir)).map(({ hub, room, role }) => ({
    hub,
    room,
    role,
  }));
  for (const one of rooms) context.output.record(one);
  if (rooms.length === 0) context.output.line("no rooms yet: waybill room create NAME");
  else
    context.output.line(
      table([["ROOM", "ROLE", "HUB"], ...rooms.map((one) => [one.room, one.role, one.hub])]),
    );
}

async function showRoom(context: Context, [name]: [string | undefined]): Promise<void> {
  const room =
    name === undefined ? await context.room() : decodeValue(RoomId, name, `room "${name}"`);
  const client = await context.client(room);
  const shown = await client.call("showRoom", { params: { room } }, { signal: context.signal });
  const { workers } = await client.call(
    "listWorkers",
    { params: { room } },
    { signal: context.signal },
  );
  context.output.record({ ...shown, workerList: workers });
  context.output.line(
    `room ${shown.room}  created ${formatTime(shown.createdAt)}  session ${shown.session}  you are ${shown.role}`,
  );
  context.output.line(
    table([
      ["PEER", "NAME", "ROLE", "SINCE"],
      ...shown.peers.map((one) => [one.peerId, one.name, one.role, formatTime(one.joinedAt)]),
    ]),
  );
  if (workers.length === 0) return;
  const rows = workers.map((one) => [
    one.workerId,
    one.name,
    one.capabilities.kind,
    `${one.capabilities.cpus} CPUs`,
    one.capabilities.gpus.map((gpu) => gpu.name).join(", ") || "–",
    one.jobs.join(", ") || "free",
  ]);
  context.output.line(`\n${table([["WORKER", "NAME", "KIND", "SIZE", "GPUS", "JOBS"], ...rows])}`);
}

async function invite(context: Context, _: [], options: { role: string }): Promise<void> {
  const room = await context.room();
  const role = decodeValue(InviteRole, options.role, "--role");
  const client = await context.client(room);
  const { code, expiresAt } = await client.call(
    "createInvite",
    { params: { room }, body: { role } },
    { signal: context.signal },
  );
  context.output.record({ code, role, expiresAt });
  context.output.line(code);
  const command = role === "worker" ? `waybill worker --join ${code}` : `waybill room join ${code}`;
  context.output.note(
    `for one ${role}, until ${formatTime(expiresAt)} UTC: ${command} --hub ${context.hubUrl}`,
  );
}

async function join(context: Context, [code]: [string], options: { name: string }): Promise<void> {
  const { room, role, token } = await context.join(code, options.name);
  context.output.record({ room, role, token });
  context.output.line(
    `joined room ${room} as ${role}; the token is saved on this machine and bound to its key`,
  );
}

/** Tokens are sent only to the hub they were saved for, so a move has to be said. */
async function moved(context: Context, [name]: [string], options: { from: string }): Promise<void> {
  const saved = await savedRooms(context.dataDir);
  const ours = saved.filter((one) => one.room === name && one.hub === options.from);
  if (ours.length === 0) {
    throw new WaybillError(
      "not_found",
      `this machine has no token for room ${name} on ${options.from}`,
    );
  }
  for (const one of ours) await saveRoom(context.dataDir, { ...one, hub: context.hubUrl });
  context.output.record({ room: name, hub: context.hubUrl, roles: ours.map((one) => one.role) });
  context.output.line(
    `room ${name}: tokens (${ours.map((one) => one.role).join(", ")}) are used at ${context.hubUrl} now`,
  );
}

async function createKey(
  context: Context,
  _: [],
  options: { label: string; days: number },
): Promise<void> {
  const room = await context.room();
  const client = await context.client(room);
  const key = await generateIdentityKey();
  const body = { publicKey: key.x, label: options.label, days: options.days };
  const made = await client.call(
    "createWorkerKey",
    { params: { room }, body },
    { signal: context.signal },
  );
  const text = encodeWorkerKey(key, made.token);
  context.output.record({ id: made.key.id, key: text, expiresAt: made.key.expiresAt });
  context.output.line(text);
  context.output.note(
    `worker key ${made.key.id} for room ${room}, until ${formatTime(made.key.expiresAt)} UTC; give it to pods as WAYBILL_KEY`,
  );
}

async function listKeys(context: Context): Promise<void> {
  const room = await context.room();
  const client = await context.client(room);
  const { keys } = await client.call(
    "listWorkerKeys",
    { params: { room } },
    { signal: context.signal },
  );
  for (const one of keys) context.output.record(one);
  const rows = keys.map((one) => [
    one.id,
    one.label,
    formatTime(one.expiresAt),
    one.revokedAt === undefined ? "valid" : `revoked ${formatTime(one.revokedAt)}`,
  ]);
  context.output.line(table([["ID", "LABEL", "EXPIRES", "STATE"], ...rows]));
}

async function revokeKey(context: Context, [key]: [string]): Promise<void> {
  const room = await context.room();
  const client = await context.client(room);
  await client.call("revokeWorkerKey", { params: { room, key } }, { signal: context.signal });
  context.output.record({ revoked: key });
  context.output.line(`worker key ${key} is revoked`);
}
