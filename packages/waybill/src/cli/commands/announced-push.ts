// A push that goes on beside something else: announced, so that others read it meanwhile, and served from this machine
// for as long as somebody may want it.
import { type AnnouncedPushResult, type JobHold, pushAnnounced } from "@waybill/sdk/client";
import { createByteTransport } from "@waybill/sdk/platform";
import {
  type ArtifactId,
  type ArtifactName,
  type RoomId,
  isAbort,
  messageOf,
} from "@waybill/sdk/protocol";
import { RateGate, parseRateLimit } from "@waybill/sdk/timing";
import type { Context } from "../context.ts";
import { type LiveRoom, personName } from "../live.ts";
import { type PushArguments, pushOptions } from "../push-options.ts";
import { RetryNotice } from "../render/retry-notice.ts";
import { TransferView } from "../render/transfer-view.ts";
import { ServedTree } from "../served-tree.ts";

export type AnnouncedArguments = PushArguments & {
  /** Whether this machine serves the tree meanwhile. Default: it does. */
  readonly direct?: boolean;
  /** Only over the links of peers, which are encrypted. */
  readonly encrypted?: boolean;
  /** The room's peers, who may read from here by their links. */
  readonly live?: LiveRoom | undefined;
  /** Holds the upload back for a job. */
  readonly hold?: JobHold | undefined;
  readonly label?: string;
  readonly quiet?: boolean;
};

/** A push under way. Disposing of it stops it and the server, and waits for both. */
export interface AnnouncedPush extends AsyncDisposable {
  readonly name: ArtifactName;
  /** The artifact, as soon as others can read it; when it is not announced, once it is pushed. */
  readonly artifact: Promise<ArtifactId>;
  readonly done: Promise<AnnouncedPushResult>;
  /** Ends the display of its progress: something else is shown. */
  hide(): void;
}

/** Begins to push a path; throws `not_found` when it is not there. */
export async function beginAnnouncedPush(
  context: Context,
  room: RoomId,
  source: string,
  options: AnnouncedArguments,
): Promise<AnnouncedPush> {
  const { output } = context;
  const what = pushOptions(source, options);
  const { name } = what;
  // What is served directly counts against the same limit.
  const gate =
    options.limitUp === undefined ? undefined : new RateGate(parseRateLimit(options.limitUp));
  let hidden = options.quiet === true;
  const unlessHidden = {
    note: (text: string) => (hidden ? undefined : output.note(text)),
    record: (value: object) => (hidden ? undefined : output.record(value)),
  };
  const notice = new RetryNotice({ output: unlessHidden });
  const hub = await context.client(room, "transfer", new RetryNotice({ output: unlessHidden }));
  const transport = createByteTransport(gate === undefined ? {} : { limits: { up: gate } });
  const label = options.label ?? `push ${name}`;
  const view = options.quiet === true ? undefined : new TransferView({ output, label });
  const stopping = new AbortController();
  const known = Promise.withResolvers<ArtifactId>();
  // Whoever does not wait for it hears of a failure by `done`.
  known.promise.catch(() => undefined);
  let served: ServedTree | undefined;
  const { live, hold } = options;
  const serve = async (tree: Parameters<typeof ServedTree.start>[0]["tree"]) => {
    served = await ServedTree.start({
      tree,
      gate,
      overHttp: options.encrypted !== true,
      live,
      onServed: () => hold?.served(),
      onDone: () => hold?.delivered(),
      onBudgetEnd: () => hold?.blocked("the room's budget for relayed bytes is used up"),
      note: (text) => output.note(text),
    });
    return [...served.addresses];
  };
  const run = async (): Promise<AnnouncedPushResult> => {
    try {
      const result = await pushAnnounced(hub, {
        room,
        ...what,
        transport,
        signal: AbortSignal.any([context.signal, stopping.signal]),
        onAnnounced: ({ artifact, arriving }) => {
          if (arriving === true && view !== undefined)
            output.record({ type: "announced", artifact });
          known.resolve(artifact);
        },
        ...(options.direct === false ? {} : { serve }),
        hold,
        by: personName(),
        onUnannounced: (reason) => output.note(`note: not announced: ${messageOf(reason)}`),
        onRetry: (error, waitMs) => notice.failed(error, waitMs),
        onProgress: (progress) => {
          notice.progressed(progress.bytes);
          if (!hidden) view?.tick(progress);
        },
      });
      known.resolve(result.artifact);
      return result;
    } catch (error) {
      known.reject(error);
      view?.stop();
      if (isAbort(error) && context.signal.aborted) {
        output.complain(
          `push stopped; what is confirmed stays there, and who reads it waits: go on with \`waybill push ${source} --announce\``,
        );
      }
      throw error;
    } finally {
      view?.stop();
      transport.close();
    }
  };
  const done = run();
  done.catch(() => undefined);
  return {
    name,
    artifact: known.promise,
    done,
    hide: () => {
      hidden = true;
      view?.stop();
    },
    async [Symbol.asyncDispose]() {
      stopping.abort();
      hold?.stop();
      await done.catch(() => undefined);
      await served?.[Symbol.asyncDispose]();
    },
  };
}
