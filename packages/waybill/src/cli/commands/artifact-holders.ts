// waybill artifact holders: which peers of the room serve an artifact, for people who fetch with other tools.
import { Command } from "commander";
import type { Holder } from "@waybill/sdk/protocol";
import type { Context } from "../context.ts";
import { withRoom } from "../options.ts";
import { table } from "../render/format.ts";
import type { Runner } from "../runner.ts";

type HoldersOptions = { readonly tokens?: boolean };

export function artifactHoldersCommand(run: Runner): Command {
  return withRoom(new Command("holders"))
    .argument("<ref>", "artifact id, a prefix of at least 8 digits, or a name")
    .option(
      "--tokens",
      "print the addresses' tokens, too; whoever has one reads all that is served there",
    )
    .description("who in the room serves an artifact now, nearest first, and where")
    .action(run<[string], HoldersOptions>(holders));
}

async function holders(
  context: Context,
  [ref]: [string],
  { tokens = false }: HoldersOptions,
): Promise<void> {
  const { signal, output } = context;
  const room = await context.room();
  const hub = await context.client(room);
  const { artifact } = await hub.call("resolveArtifact", { params: { room, ref } }, { signal });
  const { holders: all } = await hub.call(
    "showHolders",
    { params: { room, artifact } },
    { signal },
  );
  for (const one of all) output.record({ type: "holder", artifact, ...shown(one, tokens) });
  if (all.length === 0) {
    output.line(`nobody in room ${room} serves ${artifact.slice(0, 12)} now`);
    return;
  }
  const rows = all.flatMap((one) =>
    one.addresses.map(({ url, token }) => [
      one.name,
      one.fills === true ? "fetches it" : "has it",
      `${url}/v1/artifacts/${artifact}/`,
      ...(tokens ? [token] : []),
    ]),
  );
  output.line(table([["NAME", "", "BELOW", ...(tokens ? ["TOKEN"] : [])], ...rows]));
}

/** Without tokens unless they were asked for: output ends up in logs (I10). */
function shown({ addresses, ...holder }: Holder, tokens: boolean): object {
  return {
    ...holder,
    addresses: tokens ? addresses : addresses.map(({ url }) => ({ url })),
  };
}
