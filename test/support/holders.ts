// Who serves an artifact, as the hub tells the owner of a lab's room.
import { HubClient } from "@waybill/sdk/hub-client";
import { ArtifactId, type Holder, RoomId, decodeValue } from "@waybill/sdk/protocol";
import { machineIdentity, savedRooms } from "../../packages/waybill/src/cli/credentials.ts";
import { type Lab, ROOM } from "./lab.ts";

export async function holdersOf(lab: Lab, artifact: string): Promise<readonly Holder[]> {
  const input = { params: paramsOf(artifact), query: {} };
  return (await (await ownerOf(lab)).call("showHolders", input)).holders;
}

/** A signed URL of an object of an artifact in the store. */
export async function storeUrlOf(lab: Lab, artifact: string, key: string): Promise<string> {
  const input = { params: paramsOf(artifact), body: { keys: [key] } };
  const { reads } = await (await ownerOf(lab)).call("signReads", input);
  return reads[0]?.url ?? "";
}

async function ownerOf(lab: Lab): Promise<HubClient> {
  const [saved] = await savedRooms(lab.path("owner"));
  const identity = await machineIdentity(lab.path("owner"));
  return new HubClient({ url: lab.hubUrl, credential: { token: saved?.token ?? "", identity } });
}

function paramsOf(artifact: string) {
  return {
    room: decodeValue(RoomId, ROOM, "room"),
    artifact: decodeValue(ArtifactId, artifact, "artifact"),
  };
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
