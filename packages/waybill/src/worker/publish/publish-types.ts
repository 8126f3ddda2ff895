// What publishing is asked for, and what it answers.
import type { ArtifactId, JobEventOf } from "@waybill/sdk/protocol";
import type { TransferProgress } from "../ports.ts";

export type PublishRequest = {
  readonly output: string;
  readonly data: Readonly<Record<string, unknown>>;
  readonly stoppedEarly: boolean;
  readonly signal: AbortSignal;
  readonly onProgress: (progress: TransferProgress) => void;
  /** The bytes are in the store; resolves before the registry is asked to name them. */
  readonly onPushed: (pushed: Pushed) => Promise<void>;
  readonly onWarning: (line: string) => void;
};

export type Pushed = {
  readonly artifact: ArtifactId;
  readonly bytes: number;
  readonly sentBytes: number;
  readonly seconds: number;
};

/** The model and where it lies, as the `published` event says it. */
export type Published = Omit<JobEventOf<"published">, "seq" | "time" | "attempt">;
