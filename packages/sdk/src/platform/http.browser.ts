// Bulk HTTP in browsers: `fetch`. Bytes of a PUT can only be counted when it was answered.
import { WaybillError, messageOf } from "../protocol/index.ts";
import { abortReason } from "../timing/index.ts";
import {
  type ByteRequest,
  type ByteTransport,
  type ByteTransportInit,
  DEFAULT_IDLE_MS,
  MAX_TEXT_BYTES,
} from "./byte-transport.ts";

/** 256 kbit/s: below it an upload of parts of 5 MiB is hopeless anyway. */
const SLOWEST_BYTES_PER_MS = 32;

/** Bulk HTTP over `fetch`. */
export function createByteTransport(_init: ByteTransportInit = {}): ByteTransport {
  return {
    put: async (request) => {
      // No progress is seen until the answer, so the body gets its time at the slowest useful rate.
      const idleMs =
        (request.idleMs ?? DEFAULT_IDLE_MS) + request.body.length / SLOWEST_BYTES_PER_MS;
      const watch = watchIdle({ ...request, idleMs });
      try {
        const response = await fetch(request.url, {
          method: "PUT",
          headers: { ...request.headers },
          body: new Uint8Array(request.body),
          signal: watch.signal,
        });
        request.onSent?.(request.body.length);
        const text = (await response.text()).slice(0, MAX_TEXT_BYTES);
        return { status: response.status, header: headerOf(response), text };
      } catch (cause) {
        throw watch.failure(cause);
      } finally {
        watch.stop();
      }
    },
    get: async (request) => {
      const watch = watchIdle(request);
      try {
        const response = await fetch(request.url, {
          headers: { ...request.headers },
          signal: watch.signal,
        });
        return {
          status: response.status,
          header: headerOf(response),
          body: bodyOf(response, watch),
        };
      } catch (cause) {
        watch.stop();
        throw watch.failure(cause);
      }
    },
    close: () => undefined,
  };
}

type IdleWatch = ReturnType<typeof watchIdle>;

async function* bodyOf(response: Response, watch: IdleWatch): AsyncGenerator<Uint8Array> {
  const reader = response.body?.getReader();
  try {
    for (;;) {
      const piece = await reader?.read();
      if (piece === undefined || piece.done) return;
      watch.moved();
      yield piece.value;
    }
  } catch (cause) {
    throw watch.failure(cause);
  } finally {
    watch.stop();
    await reader?.cancel().catch(() => undefined);
  }
}

function watchIdle(request: ByteRequest) {
  const { signal, idleMs = DEFAULT_IDLE_MS } = request;
  const host = new URL(request.url).host;
  const controller = new AbortController();
  let idle = false;
  const onIdle = () => {
    idle = true;
    controller.abort();
  };
  let timer = setTimeout(onIdle, idleMs);
  return {
    signal: signal === undefined ? controller.signal : AbortSignal.any([signal, controller.signal]),
    moved: () => {
      clearTimeout(timer);
      timer = setTimeout(onIdle, idleMs);
    },
    stop: () => clearTimeout(timer),
    failure: (cause: unknown): Error => {
      if (signal?.aborted === true) return abortReason(signal);
      if (idle) {
        return new WaybillError("timeout", `${host} moved no byte for ${idleMs / 1000} s`);
      }
      if (cause instanceof WaybillError) return cause;
      return new WaybillError("unreachable", `connection to ${host} failed (${messageOf(cause)})`, {
        cause,
      });
    },
  };
}

function headerOf(response: Response): (name: string) => string | undefined {
  return (name) => response.headers.get(name) ?? undefined;
}
