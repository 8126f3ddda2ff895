// Who serves an artifact, as the hub tells the owner of a lab's room.
import { HubClient } from "@waybill/sdk/hub-client";
import { ArtifactId, type Holder, RoomId, decodeValue } from "@waybill/sdk/protocol";
import { machineIdentity, savedRooms } from "../../packages/waybill/src/cli/credentials.ts";
import { type Lab, ROOM } from "./lab.ts";

export async function holdersOf(lab: Lab, artifact: string): Promise<readonly Holder[]> {
  const [saved] = await savedRooms(lab.path("owner"));
  const identity = await machineIdentity(lab.path("owner"));
  const credential = { token: saved?.token ?? "", identity };
  const hub = new HubClient({ url: lab.hubUrl, credential });
  const params = {
    room: decodeValue(RoomId, ROOM, "room"),
    artifact: decodeValue(ArtifactId, artifact, "artifact"),
  };
  return (await hub.call("showHolders", { params, query: {} })).holders;
}

/** Asks a data server for something of an artifact. */
export async function getFrom(
  { addresses: [address] }: Pick<Holder, "addresses">,
  path: string,
  headers: Readonly<Record<string, string>> = {},
): Promise<Response> {
  const authorization = `Bearer ${address?.token}`;
  return fetch(`${address?.url}${path}`, { headers: { authorization, ...headers } });
}
