// waybill uploads …: pushes that have begun and are not complete.
import { Command } from "commander";
import type { HubClient } from "@waybill/sdk/hub-client";
import { type RoomId, type RouteOutput, WaybillError } from "@waybill/sdk/protocol";
import type { Context } from "../context.ts";
import { withRoom } from "../options.ts";
import { formatAge, formatBytes, formatTime, table } from "../render/format.ts";
import { plural } from "../render/progress-lines.ts";
import type { Runner } from "../runner.ts";

type Upload = RouteOutput<"listUploads">["uploads"][number];
type RemoveOptions = { readonly all?: boolean; readonly dryRun?: boolean };

/** Digits that may stand for an id. */
const MIN_PREFIX = 4;
/** Digits that are shown: enough for any room to tell its uploads apart. */
const SHOWN_ID = 10;

export function uploadsCommand(run: Runner): Command {
  const uploads = new Command("uploads").description("pushes that are not complete yet");
  uploads.addCommand(
    withRoom(new Command("ls"))
      .description("open uploads of the room, oldest first")
      .action(run<[]>(list)),
  );
  uploads.addCommand(
    withRoom(new Command("rm"))
      .argument("[ids...]", "upload ids, or unique prefixes of at least 4 digits")
      .option("--all", "every open upload of the room")
      .option("--dry-run", "only say what would be removed")
      .description(
        "end open uploads and remove what is stored of them; a push that is running begins again",
      )
      .action(run<[string[]], RemoveOptions>(remove)),
  );
  return uploads;
}

async function list(context: Context): Promise<void> {
  const { output } = context;
  const room = await context.room();
  const uploads = await openUploads(context, await context.client(room), room);
  for (const one of uploads) output.record({ type: "upload", ...one });
  if (uploads.length === 0) {
    output.line(`no open upload in room ${room}`);
    return;
  }
  const nowMs = Date.now();
  const rows = uploads.map((one) => [
    one.upload.slice(0, 2 + SHOWN_ID),
    one.name,
    one.kind,
    formatBytes(one.bytes),
    one.storedBytes === undefined ? "?" : formatBytes(one.storedBytes),
    one.createdBy.slice(0, 8),
    `${formatAge(nowMs - Date.parse(one.createdAt))} ago`,
    one.expiresAt === undefined ? "–" : formatTime(one.expiresAt),
  ]);
  const head = ["UPLOAD", "NAME", "KIND", "SIZE", "STORED", "BY", "BEGUN", "EXPIRES (UTC)"];
  output.line(table([head, ...rows]));
  output.note("go on with one: run its `waybill push` again, on any machine with the same files");
}

async function remove(
  context: Context,
  [ids]: [string[]],
  { all = false, dryRun = false }: RemoveOptions,
): Promise<void> {
  const { output, signal } = context;
  if (all === ids.length > 0) {
    const what = all ? "--all and ids exclude each other" : "no upload is named";
    throw new WaybillError("invalid_request", what, {
      hint: "name uploads as `waybill uploads ls` shows them, or give --all",
    });
  }
  const room = await context.room();
  const hub = await context.client(room);
  const open = await openUploads(context, hub, room);
  // All are looked up before the first is removed: a mistyped id must not leave half the work done.
  const chosen = all ? open : [...new Set(ids.map((id) => findUpload(open, id, room)))];
  for (const one of chosen) {
    if (!dryRun) {
      const params = { room, upload: one.upload };
      await hub.call("abortUpload", { params }, { signal });
    }
    const { upload, name, bytes, storedBytes } = one;
    output.record({ type: dryRun ? "would_remove" : "removed", upload, name, bytes, storedBytes });
    output.line(
      `${dryRun ? "would remove" : "removed"} ${upload} ${name}, ${stored(one)} of ${formatBytes(bytes)}`,
    );
  }
  if (chosen.length === 0) output.line(`no open upload in room ${room}`);
  else if (dryRun)
    output.note(`nothing was removed: without --dry-run, ${uploadCount(chosen)} would end`);
}

function uploadCount(uploads: readonly Upload[]): string {
  return plural(uploads.length, "upload", "uploads");
}

function stored({ storedBytes }: Upload): string {
  return storedBytes === undefined ? "what is stored" : formatBytes(storedBytes);
}

async function openUploads(context: Context, hub: HubClient, room: RoomId): Promise<Upload[]> {
  const { uploads } = await hub.call(
    "listUploads",
    { params: { room } },
    { signal: context.signal },
  );
  return uploads.toSorted((a, b) => a.createdAt.localeCompare(b.createdAt));
}

/** The upload an id or prefix stands for; throws `invalid_request`, `not_found` or `conflict`. */
export function findUpload<U extends { readonly upload: string; readonly name: string }>(
  open: readonly U[],
  text: string,
  room: string,
): U {
  const digits = text.toLowerCase().replace(/^u_/, "");
  if (!new RegExp(`^[0-9a-f]{${MIN_PREFIX},24}$`).test(digits)) {
    throw new WaybillError("invalid_request", `"${text}" is not an upload's id`, {
      hint: `give the id as \`waybill uploads ls\` shows it, or at least ${MIN_PREFIX} digits of it`,
    });
  }
  const fitting = open.filter(({ upload }) => upload.startsWith(`u_${digits}`));
  const [only] = fitting;
  if (only !== undefined && fitting.length === 1) return only;
  if (only === undefined) {
    throw new WaybillError("not_found", `room ${room} has no open upload ${text}`, {
      hint: "see which there are: `waybill uploads ls`",
    });
  }
  const some = fitting.slice(0, 4).map(({ upload, name }) => `${upload} (${name})`);
  throw new WaybillError("conflict", `${text} may be ${some.join(", ")}`, {
    hint: "give more digits",
  });
}
