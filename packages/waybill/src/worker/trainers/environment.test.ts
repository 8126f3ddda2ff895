import { describe, expect, it } from "vitest";
import { assign } from "../fakes.fixture.ts";
import { trainerEnvironment } from "./environment.ts";

const paths = { dataset: undefined, output: "/o", config: "/c" };

describe("a trainer's environment", () => {
  it("has the worker's variables but none that may hold a secret (I10)", () => {
    const own = {
      PATH: "/bin",
      HOME: "/root",
      CUDA_VISIBLE_DEVICES: "0",
      TOKENIZERS_PARALLELISM: "false",
      WAYBILL_TOKEN: "x",
      WAYBILL_KEY: "x",
      WAYBILL_HUB_SECRET: "x",
      AWS_ACCESS_KEY_ID: "x",
      AWS_SESSION_TOKEN: "x",
      GOOGLE_APPLICATION_CREDENTIALS: "x",
      HF_TOKEN: "x",
      DB_PASSWORD: "x",
      OPENAI_API_KEY: "x",
      SSH_AUTH_SOCK: "x",
    };
    const env = trainerEnvironment(own, assign({ command: ["x"] }), paths, []);
    expect(Object.keys(env).filter((name) => env[name] === "x")).toEqual([]);
    expect(env).toMatchObject({ PATH: "/bin", HOME: "/root", CUDA_VISIBLE_DEVICES: "0" });
    expect(env["TOKENIZERS_PARALLELISM"]).toBe("false");
    const passed = trainerEnvironment(own, assign({ command: ["x"] }), paths, ["HF_TOKEN"]);
    expect(passed["HF_TOKEN"]).toBe("x");
  });

  it("cannot be given other places by the job", () => {
    const env = { WAYBILL_OUTPUT: "/etc", WAYBILL_DATASET: "/etc", LR: "1" };
    const made = trainerEnvironment({}, assign({ command: ["x"], env }), paths, []);
    expect(made).toMatchObject({ WAYBILL_OUTPUT: "/o", WAYBILL_CONFIG: "/c", LR: "1" });
    expect(made).not.toHaveProperty("WAYBILL_DATASET");
  });
});
