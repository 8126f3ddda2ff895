/** What an operation is: one request in, one answer out. Its file says which S3 action it is. */
import type { StoreCore } from "../core.ts";
import type { S3Request } from "./s3-request.ts";
import type { S3Response } from "./s3-response.ts";

export interface Call {
  readonly request: S3Request;
  readonly response: S3Response;
  readonly core: StoreCore;
}

/** Answers a call; may throw an S3Error instead, as long as it has not begun to answer. */
export type Operation = (call: Call) => Promise<void> | void;
