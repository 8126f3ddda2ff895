// Receipts: proof of a push or pull, and checks of a folder against one.
export {
  checkSignature,
  decodePayload,
  encodePayload,
  signAsClient,
  signAsHub,
  type CheckedSignature,
} from "./signature.ts";
export {
  judgeReceipt,
  receiptPieces,
  type Receipt,
  type ReceiptVerdict,
  type SignerFacts,
} from "./receipt.ts";
export {
  issueReceipt,
  type IssueOptions,
  type IssuedReceipt,
  type TransferFacts,
} from "./issue-receipt.ts";
export {
  compareTree,
  type CompareOptions,
  type TreeComparison,
  type TreeDifference,
} from "./compare-tree.ts";
export { fetchManifest } from "./fetch-manifest.ts";
