// The emulated networks that other tests and the benchmarks stand on: do they do what they say?
import { once } from "node:events";
import { existsSync } from "node:fs";
import { createInterface } from "node:readline";
import { describe, expect, it } from "vitest";
import { NetLab } from "../support/netlab.ts";
import { run } from "../support/netlab/commands.ts";

const refused = await NetLab.refusal();
if (refused !== undefined) console.log(`skipped: ${refused}`);

/** Answers "ping" with itself and a number with that many bytes; prints its port. */
const SERVER = `
import { createServer } from "node:net";
const server = createServer((socket) => {
  socket.on("error", () => undefined);
  socket.on("data", (data) => {
    const text = data.toString();
    socket.write(text === "ping" ? text : Buffer.alloc(Number(text)));
  });
}).listen(0, "::", () => console.log(server.address().port));
`;

/** Round trips in milliseconds, then the seconds that BYTES took. */
const CLIENT = `
import { connect } from "node:net";
const [host, port, bytes] = process.argv.slice(1);
const socket = connect(Number(port), host);
socket.setNoDelay(true);
const trips = [];
let start = 0, received = 0, mode = "ping";
const ping = () => { start = performance.now(); socket.write("ping"); };
socket.on("connect", ping);
socket.on("data", (data) => {
  if (mode === "ping") {
    trips.push(performance.now() - start);
    if (trips.length < 5) return ping();
    mode = "bytes";
    start = performance.now();
    return socket.write(bytes);
  }
  received += data.length;
  if (received < Number(bytes)) return;
  console.log(JSON.stringify({ rttMs: Math.min(...trips), seconds: (performance.now() - start) / 1000 }));
  socket.destroy();
});
`;

/** Holds a connection open; prints how it ended and when. */
const HOLDER = `
import { connect } from "node:net";
const [host, port] = process.argv.slice(1);
const socket = connect(Number(port), host);
let opened = 0;
socket.on("connect", () => { opened = performance.now(); });
socket.on("error", ({ code }) => console.log(JSON.stringify({ code, ageMs: performance.now() - opened })));
`;

async function startServer(lab: NetLab): Promise<string> {
  const child = lab.exec("server", [process.execPath, "--input-type=module", "-e", SERVER], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  if (child.stdout === null) throw new Error("no output to read");
  const [port] = (await once(createInterface({ input: child.stdout }), "line")) as [string];
  return port;
}

async function client<T>(lab: NetLab, script: string, ...args: string[]): Promise<T> {
  const node = [process.execPath, "--input-type=module", "-e", script, ...args];
  return JSON.parse(await lab.run("client", node)) as T;
}

type Measured = { readonly rttMs: number; readonly seconds: number };

describe.skipIf(refused !== undefined)("an emulated network", () => {
  it("has the round trip, the rate and the congestion control that were asked for, over IPv4 and IPv6", async () => {
    await using lab = await NetLab.open({
      links: [{ from: "client", to: "server", rttMs: 40, rateMbit: 40, congestion: "cubic" }],
    });
    const port = await startServer(lab);
    const measured = await client<Measured>(lab, CLIENT, lab.address("server"), port, "5000000");
    expect(measured.rttMs).toBeGreaterThanOrEqual(40);
    expect(measured.rttMs).toBeLessThan(60);
    // 5 MB and their headers at 40 Mbit/s take 1.04 s; cubic's start adds some round trips.
    expect(measured.seconds).toBeGreaterThan(1);
    expect(measured.seconds).toBeLessThan(2.5);
    const six = await client<Measured>(lab, CLIENT, "fd88:0::2", port, "100000");
    expect(six.rttMs).toBeGreaterThanOrEqual(40);
    expect(await lab.run("client", ["ip", "route", "show"])).toContain("congctl cubic");
    const { down } = await lab.link("server").wan.counts();
    expect(down.payloadBytes).toBeGreaterThanOrEqual(5_100_000);
    expect(down.bytes).toBeGreaterThan(down.payloadBytes);
  });

  it("limits each direction by itself", async () => {
    await using lab = await NetLab.open({
      links: [{ from: "client", to: "server", rateMbit: { up: 5, down: 80 } }],
    });
    const port = await startServer(lab);
    const { seconds } = await client<Measured>(lab, CLIENT, lab.address("server"), port, "5000000");
    expect(seconds).toBeLessThan(1.5);
  });

  it("loses the share of packets that was asked for", async () => {
    await using lab = await NetLab.open({
      links: [{ from: "client", to: "server", lossPercent: 10, congestion: "bbr" }],
    });
    const port = await startServer(lab);
    await client<Measured>(lab, CLIENT, lab.address("server"), port, "4000000");
    const { down } = await lab.link("server").wan.counts();
    expect(down.lost / down.packets).toBeGreaterThan(0.06);
    expect(down.lost / down.packets).toBeLessThan(0.14);
  });

  it("resets connections at the age that was asked for", async () => {
    await using lab = await NetLab.open({ links: [{ from: "client", to: "server" }] });
    const port = await startServer(lab);
    const limit = lab.limitConnectionAge("server", 1000);
    const end = await client<{ code: string; ageMs: number }>(
      lab,
      HOLDER,
      lab.address("server"),
      port,
    );
    expect(end.code).toBe("ECONNRESET");
    expect(end.ageMs).toBeGreaterThan(900);
    expect(end.ageMs).toBeLessThan(2500);
    expect(limit.resets).toBe(1);
  });

  it("carries nothing while it is unplugged, and goes on when it is plugged in", async () => {
    await using lab = await NetLab.open({ links: [{ from: "client", to: "server" }] });
    const port = await startServer(lab);
    const { wan } = lab.link("server");
    await wan.unplug();
    const measuring = client<Measured>(lab, CLIENT, lab.address("server"), port, "1000");
    // The client's first packet, a connection's, is lost: TCP tries again a second later.
    await expect
      .poll(async () => (await wan.counts()).up.lost, { timeout: 20_000 })
      .toBeGreaterThan(0);
    expect((await wan.counts()).down.payloadBytes).toBe(0);
    await wan.plug();
    expect((await measuring).seconds).toBeGreaterThan(0);
  });

  it("gives every link of a host addresses of its own", async () => {
    await using lab = await NetLab.open({
      links: [
        { from: "client", to: "one" },
        { from: "client", to: "two" },
      ],
    });
    expect(lab.address("one")).not.toBe(lab.address("two"));
    expect(lab.address("client", "two")).not.toBe(lab.address("client", "one"));
  });

  it("leaves no process, namespace or file behind", async () => {
    const lab = await NetLab.open({ links: [{ from: "client", to: "server" }] });
    const sleeper = lab.exec("server", ["sleep", "1000"], { stdio: "ignore" });
    const ended = once(sleeper, "exit");
    await lab[Symbol.asyncDispose]();
    expect(await ended).toEqual([null, "SIGKILL"]);
    expect(await run("ip", "netns", "list")).not.toContain(`wb${process.pid}n`);
  });

  it("removes what a killed process left", async () => {
    const gone = 4_194_305; // beyond the kernel's largest pid
    const orphan = `wb${gone}n1-client`;
    await run("ip", "netns", "add", orphan);
    const lab = await NetLab.open({ links: [{ from: "client", to: "server" }] });
    await lab[Symbol.asyncDispose]();
    expect(existsSync(`/run/netns/${orphan}`)).toBe(false);
  });
});
