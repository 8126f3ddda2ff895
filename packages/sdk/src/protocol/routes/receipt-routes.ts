// Receipts: the hub's countersignature, and the keys it is checked with.
import * as v from "valibot";
import { RoomId } from "../ids.ts";
import { ReceiptJws, ReceiptKey, ReceiptSignature } from "../receipt.ts";
import { ALL, route } from "./route.ts";

export const RECEIPT_ROUTES = {
  signReceipt: route({
    method: "POST",
    path: "/v1/rooms/:room/receipts",
    roles: ALL,
    summary:
      "The hub's signature under a receipt, if the room holds this artifact with these numbers",
    params: v.object({ room: RoomId }),
    body: ReceiptJws,
    response: v.object({ signature: ReceiptSignature }),
  }),
  receiptKeys: route({
    method: "GET",
    path: "/v1/receipt-keys",
    roles: "public",
    summary: "JWK set of every key this hub's receipts were signed with",
    response: v.object({ keys: v.array(ReceiptKey) }),
  }),
} as const;
