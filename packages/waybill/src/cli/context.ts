// What every command starts from: options and environment made into a hub client, a room and an output.
import path from "node:path";
import envPaths from "env-paths";
import { type Credential, HubClient, type Identity } from "@waybill/sdk/hub-client";
import { type Role, RoomId, WaybillError, decodeValue } from "@waybill/sdk/protocol";
import {
  decodeWorkerKey,
  machineIdentity,
  peekToken,
  saveRoom,
  savedRooms,
} from "./credentials.ts";
import { Output } from "./render/output.ts";
import type { RetryNotice } from "./render/retry-notice.ts";

const DEFAULT_HUB = "http://127.0.0.1:8700";

export type CommonOptions = {
  readonly hub?: string;
  readonly data?: string;
  readonly room?: string;
  readonly json?: boolean;
  readonly debug?: boolean;
};

export type Environment = Readonly<Record<string, string | undefined>>;

/** How long commands keep trying while the hub is away. A transfer outlives a hub's restart. */
const PATIENCE_MS = { command: 3000, transfer: 10 * 60_000 };
/** How long a transfer that has not begun tries an address where nobody is: it is probably mistyped. */
const FIRST_ANSWER_MS = 30_000;

export class Context {
  readonly output: Output;
  readonly signal: AbortSignal;
  readonly dataDir: string;
  readonly hubUrl: string;
  /** Whether direct channels are tried. */
  readonly webrtc: boolean;
  readonly #options: CommonOptions;
  readonly #env: Environment;

  constructor(options: CommonOptions, signal: AbortSignal, env: Environment = process.env) {
    this.#options = options;
    // An empty variable, as CI systems set them, counts as none.
    this.#env = Object.fromEntries(Object.entries(env).filter(([, value]) => value !== ""));
    this.signal = signal;
    this.output = new Output({
      json: options.json === true,
      stdout: process.stdout,
      stderr: process.stderr,
    });
    this.dataDir = path.resolve(
      options.data ?? this.#env["WAYBILL_DATA"] ?? envPaths("waybill", { suffix: "" }).data,
    );
    this.webrtc = this.#env["WAYBILL_WEBRTC"] !== "0";
    this.hubUrl = hubUrlOf(options.hub ?? this.#env["WAYBILL_HUB"] ?? DEFAULT_HUB);
  }

  /** A client without a token, for the public routes. */
  publicClient(): HubClient {
    return new HubClient({ url: this.hubUrl, retryForMs: PATIENCE_MS.command });
  }

  /** The machine's key. */
  identity(): Promise<Identity> {
    return machineIdentity(this.dataDir);
  }

  /** The room meant: --room, WAYBILL_ROOM, the token's own, or the only one this machine knows. */
  async room(): Promise<RoomId> {
    const named = this.#options.room ?? this.#env["WAYBILL_ROOM"];
    if (named !== undefined) return decodeValue(RoomId, named, `room "${named}"`);
    const token = this.#env["WAYBILL_TOKEN"];
    if (token !== undefined) return peekToken(token).room;
    const rooms = [...new Set((await this.#saved()).map((one) => one.room))];
    const [only] = rooms;
    if (only !== undefined && rooms.length === 1) return only;
    throw new WaybillError(
      "invalid_request",
      rooms.length === 0 ? "no room is named" : `several rooms are known (${rooms.join(", ")})`,
      {
        hint: "name one with --room or WAYBILL_ROOM; `waybill room create NAME` makes one",
      },
    );
  }

  /**
   * Hubs this machine has a reason to believe about `room`, best first: the one that --hub or WAYBILL_HUB names,
   * else those it has tokens of the room for, beginning with `likely`.
   */
  async trustedHubs(room: RoomId, likely: string): Promise<string[]> {
    if ((this.#options.hub ?? this.#env["WAYBILL_HUB"]) !== undefined) return [this.hubUrl];
    const saved = (await savedRooms(this.dataDir)).filter((one) => one.room === room);
    const hubs = [...new Set(saved.map((one) => one.hub))];
    return hubs.sort((a, b) => Number(b === likely) - Number(a === likely));
  }

  /**
   * A client that acts in `room` as a person: the token from WAYBILL_TOKEN or the saved one. `notice` tells of calls
   * that are tried again.
   */
  async client(
    room: RoomId,
    patience: keyof typeof PATIENCE_MS = "command",
    notice?: RetryNotice,
  ): Promise<HubClient> {
    return new HubClient({
      url: this.hubUrl,
      credential: await this.credential(room),
      retryForMs: PATIENCE_MS[patience],
      firstAnswerForMs: FIRST_ANSWER_MS,
      ...(notice === undefined ? {} : { onRetry: notice.failed, onAnswer: notice.worked }),
    });
  }

  async credential(room: RoomId): Promise<Credential> {
    const identity = await this.identity();
    const token = this.#env["WAYBILL_TOKEN"];
    if (token !== undefined) {
      const claims = peekToken(token);
      if (claims.room !== room) {
        throw new WaybillError(
          "unauthorized",
          `WAYBILL_TOKEN is for room ${claims.room}, not ${room}`,
        );
      }
      return { token, identity };
    }
    const saved = (await this.#saved()).filter((one) => one.room === room);
    const best = saved.find((one) => one.role !== "worker") ?? saved[0];
    if (best === undefined) throw await this.#noToken(room);
    return { token: best.token, identity };
  }

  /** The room and credential of WAYBILL_KEY, when it is set. */
  async podCredential(): Promise<{ room: RoomId; credential: Credential } | undefined> {
    const key = this.#env["WAYBILL_KEY"];
    if (key === undefined) return undefined;
    const credential = await decodeWorkerKey(key);
    return { room: peekToken(credential.token).room, credential };
  }

  /**
   * A worker's credential: a worker's WAYBILL_TOKEN, the saved worker token, or, for an owner on the same
   * machine, a new one through an invite of their own.
   */
  async workerCredential(room: RoomId, name: string): Promise<Credential> {
    const identity = await this.identity();
    const token = this.#env["WAYBILL_TOKEN"];
    if (token !== undefined && peekToken(token).role === "worker") return { token, identity };
    const saved = await this.#saved();
    const worker = saved.find((one) => one.room === room && one.role === "worker");
    if (worker !== undefined && token === undefined) return { token: worker.token, identity };
    const owner = token ?? saved.find((one) => one.room === room && one.role === "owner")?.token;
    if (owner === undefined) {
      const other = saved.find((one) => one.room === room);
      throw other === undefined ? await this.#noToken(room) : notAWorkers(room, other.role);
    }
    const { role } = peekToken(owner);
    if (role !== "owner") throw notAWorkers(room, role);
    const client = new HubClient({
      url: this.hubUrl,
      credential: { token: owner, identity },
      retryForMs: PATIENCE_MS.command,
    });
    const { code } = await client.call(
      "createInvite",
      { params: { room }, body: { role: "worker" } },
      { signal: this.signal },
    );
    return this.join(code, name);
  }

  /** Exchanges an invite code for a token bound to this machine's key, and remembers it. */
  async join(code: string, name: string): Promise<Credential & { room: RoomId; role: Role }> {
    const identity = await this.identity();
    const body = { code, publicKey: identity.publicKey, name };
    const { room, role, token } = await this.publicClient().call(
      "join",
      { body },
      { signal: this.signal },
    );
    await saveRoom(this.dataDir, { hub: this.hubUrl, room, role, token });
    return { room, role, token, identity };
  }

  async #noToken(room: RoomId): Promise<WaybillError> {
    const elsewhere = (await savedRooms(this.dataDir)).find((one) => one.room === room);
    const hint =
      elsewhere === undefined
        ? `create it with \`waybill room create ${room}\`, or ask its owner for a code (\`waybill room invite\`) and run \`waybill room join CODE\``
        : `it has one for ${room} on ${elsewhere.hub}; if that hub has moved here: waybill room moved ${room} --from ${elsewhere.hub} --hub ${this.hubUrl}`;
    return new WaybillError(
      "unauthorized",
      `this machine has no token for room ${room} on ${this.hubUrl}`,
      { hint },
    );
  }

  async #saved() {
    return (await savedRooms(this.dataDir)).filter((one) => one.hub === this.hubUrl);
  }
}

function notAWorkers(room: RoomId, role: Role): WaybillError {
  return new WaybillError(
    "forbidden",
    `this machine's token for ${room} is a ${role}'s; a worker needs the role worker`,
    { hint: "ask its owner for a code: `waybill room invite --role worker`" },
  );
}

function hubUrlOf(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || (url.protocol !== "http:" && url.protocol !== "https:")) {
    throw new WaybillError("invalid_request", `"${text}" is not a hub's address`, {
      hint: `it looks like ${DEFAULT_HUB}`,
    });
  }
  return text.replace(/\/+$/, "");
}
