// SLEAP and sleap-nn as they are: their trainers connect to two ports on this machine, publish their progress on one
// and listen for commands on the other, where SLEAP's window with the curves would be. Here the worker is.
//
//   trainer PUB ──▶ SUB 9001 (publish port)        trainer SUB ◀── PUB 9000 (controller port)
import * as v from "valibot";
import { WaybillError, decodeJson, messageOf } from "@waybill/sdk/protocol";
import { hasCode, readIfThere, replaceFile } from "../../data-dir/files.ts";
import type {
  AdapterInit,
  ProgressAdapter,
  TrainerHints,
  TrainerPhase,
} from "../progress-adapter.ts";
import { Listener, type ListenerInit } from "../zmtp/listener.ts";
import { SleapMessages } from "./sleap-messages.ts";

export type SleapInit = AdapterInit & {
  /** The ports are noted here: a restarted daemon listens on them again, and the trainer comes back to it. */
  readonly portsFile: string;
  /** Whether the command has places for the ports; without them, the trainer is on SLEAP's own. */
  readonly takesPorts: boolean;
  readonly now: () => number;
};

const Ports = v.object({ controller: v.number(), publish: v.number() });
type Ports = v.InferOutput<typeof Ports>;

/** What SLEAP's trainers use when nobody says otherwise. */
const SLEAP_PORTS: Ports = { controller: 9000, publish: 9001 };
const ANY_PORTS: Ports = { controller: 0, publish: 0 };
/** What the trainer has sent is in this machine's memory: taking it takes no longer. */
const DRAIN_MS = 2000;
const STOP = Buffer.from('{"command": "stop"}');

export class SleapAdapter implements ProgressAdapter {
  readonly #init: SleapInit;
  readonly #messages: SleapMessages;
  #listeners: { readonly controller: Listener; readonly publish: Listener } | undefined;
  #hints: TrainerHints = { placeholders: {}, env: {} };
  #strange = false;
  /** The trainer listened to a former daemon, and will again. */
  #returning = false;

  constructor(init: SleapInit) {
    this.#init = init;
    this.#messages = new SleapMessages(init.now);
  }

  get hints(): TrainerHints {
    return this.#hints;
  }

  async start(trainer: TrainerPhase): Promise<void> {
    // What it published while nobody listened is gone, as with SLEAP's own window.
    if (trainer === "over") return;
    const running = trainer === "running";
    this.#returning = running;
    const noted = running ? await this.#noted() : undefined;
    try {
      await this.#listen(noted ?? (this.#init.takesPorts ? ANY_PORTS : SLEAP_PORTS));
    } catch (cause) {
      const taken = hasCode(cause, "EADDRINUSE");
      if (running) {
        this.#init.say(`SLEAP's progress cannot be read any more: ${messageOf(cause)}`);
        return;
      }
      throw new WaybillError(
        "trainer_failed",
        taken
          ? "ports 9000 and 9001 are in use on this worker; put {controller_port} and {publish_port} into the command's arguments"
          : `cannot listen for SLEAP's progress: ${messageOf(cause)}`,
        { cause },
      );
    }
  }

  async finish(): Promise<void> {
    await this.#listeners?.publish.drained(DRAIN_MS);
    await this.#init.emit(this.#messages.end());
    await this.stop();
  }

  async stop(): Promise<void> {
    const { controller, publish } = this.#listeners ?? {};
    this.#listeners = undefined;
    await Promise.all([controller?.stop(), publish?.stop()]);
  }

  requestStop(): boolean {
    const controller = this.#listeners?.controller;
    // A trainer that is still loading its libraries would not hear it for minutes.
    if (controller === undefined || !(controller.heard || this.#returning)) return false;
    controller.publish(STOP);
    return true;
  }

  async #listen(wanted: Ports): Promise<void> {
    const onRefused: ListenerInit["onRefused"] = (error) => this.#wonder(error.message);
    const controller = new Listener({ type: "PUB", port: wanted.controller, onRefused });
    const publish = new Listener({
      type: "SUB",
      port: wanted.publish,
      onRefused,
      onMessage: (body) => this.#take(body.toString("utf8")),
    });
    try {
      await controller.start();
      await publish.start();
    } catch (error) {
      await Promise.all([controller.stop(), publish.stop()]);
      throw error;
    }
    this.#listeners = { controller, publish };
    const ports: Ports = { controller: controller.port, publish: publish.port };
    await replaceFile(this.#init.portsFile, `${JSON.stringify(ports)}\n`);
    const [controllerPort, publishPort] = [String(ports.controller), String(ports.publish)];
    this.#hints = {
      placeholders: { controller_port: controllerPort, publish_port: publishPort },
      env: {
        WAYBILL_SLEAP_CONTROLLER_PORT: controllerPort,
        WAYBILL_SLEAP_PUBLISH_PORT: publishPort,
      },
    };
  }

  async #noted(): Promise<Ports | undefined> {
    const text = await readIfThere(this.#init.portsFile);
    return text === undefined ? undefined : decodeJson(Ports, text, "SLEAP's ports", 1024);
  }

  async #take(text: string): Promise<void> {
    const events = this.#messages.read(text);
    if (events === undefined) this.#wonder("a message is not SLEAP's");
    else await this.#init.emit(events);
  }

  /** Once is enough: what sends nonsense sends it all the time. */
  #wonder(why: string): void {
    if (this.#strange) return;
    this.#strange = true;
    this.#init.say(`SLEAP's ports: ${why}`);
  }
}
