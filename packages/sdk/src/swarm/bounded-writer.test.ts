import { describe, expect, it } from "vitest";
import { BoundedWriter, HIGH_WATER_BYTES, LOW_WATER_BYTES } from "./bounded-writer.ts";

/** A socket that keeps what it is given until told to send it. */
class SlowSocket {
  readonly sent: string[] = [];
  bufferedBytes = 0;
  broken = false;
  #low: (() => void) | undefined;

  send(text: string): void {
    if (this.broken) throw new Error("broken");
    this.sent.push(text);
    this.bufferedBytes += text.length;
  }

  whenLow(run: () => void): () => void {
    if (this.#low !== undefined) throw new Error("the one slot is taken");
    this.#low = run;
    return () => {
      this.#low = undefined;
    };
  }

  flush(left = 0): void {
    this.bufferedBytes = left;
    const low = this.#low;
    if (left > LOW_WATER_BYTES || low === undefined) return;
    this.#low = undefined;
    low();
  }
}

const big = "x".repeat(60 * 1024);
const fill = (writer: BoundedWriter<string>) => {
  let n = 0;
  while (writer.writable) {
    writer.write(big, big.length);
    n += 1;
  }
  return n;
};

describe("the one writer of a path (I3)", () => {
  it("sends at once while the buffer is low, and keeps order when it queues", () => {
    const socket = new SlowSocket();
    const writer = new BoundedWriter<string>(socket);
    writer.write("a", 1);
    expect(socket.sent).toEqual(["a"]);
    const n = fill(writer);
    expect(socket.bufferedBytes).toBeLessThan(HIGH_WATER_BYTES + big.length);
    writer.write("b", 1);
    writer.write("c", 1);
    expect(socket.sent).toHaveLength(n + 1);
    socket.flush();
    expect(socket.sent.slice(-2)).toEqual(["b", "c"]);
  });

  it("lets senders wait until the buffer is low, not only until it is below high water", async () => {
    const socket = new SlowSocket();
    const writer = new BoundedWriter<string>(socket);
    fill(writer);
    let drained = false;
    const waiting = writer.drain().then(() => {
      drained = true;
      return drained;
    });
    socket.flush(LOW_WATER_BYTES + 1);
    await Promise.resolve();
    expect(drained).toBe(false);
    socket.flush();
    expect(await waiting).toBe(true);
  });

  it("refuses more than its bound from a sender that does not wait", () => {
    const writer = new BoundedWriter<string>(new SlowSocket());
    fill(writer);
    expect(() => {
      for (let i = 0; i < 1000; i++) writer.write(big, big.length);
    }).toThrow(/too slowly/);
  });

  it("loses what was queued when the socket breaks, and works again when the socket does", async () => {
    const socket = new SlowSocket();
    const writer = new BoundedWriter<string>(socket);
    fill(writer);
    await expect(writer.drain(AbortSignal.abort())).rejects.toMatchObject({ name: "AbortError" });
    const waiting = writer.drain().catch((error: unknown) => error);
    writer.write("queued", 6);
    socket.broken = true;
    socket.flush();
    expect(await waiting).toMatchObject({ message: "broken" });
    expect(() => writer.write("more", 4)).toThrow("broken");
    socket.broken = false;
    writer.write("again", 5);
    expect(socket.sent.at(-1)).toBe("again");
    expect(socket.sent).not.toContain("queued");
  });

  it("fails who waits, and every later sender, once it is closed", async () => {
    const writer = new BoundedWriter<string>(new SlowSocket());
    fill(writer);
    const waiting = writer.drain().catch((error: unknown) => error);
    writer.close(new Error("gone"));
    expect(await waiting).toMatchObject({ message: "gone" });
    expect(() => writer.write("more", 4)).toThrow("gone");
    await expect(writer.drain()).rejects.toThrow("gone");
  });
});
