import { describe, expect, it } from "vitest";
import { assign } from "../fakes.fixture.ts";
import { trainerEnvironment } from "./environment.ts";

const paths = { dataset: undefined, output: "/o", config: "/c" };

describe("a trainer's environment", () => {
  it("has the job's seed, and no other", () => {
    const seedOf = (seed?: number) =>
      trainerEnvironment({ WAYBILL_SEED: "9" }, assign({ command: ["x"], seed }), paths, [])[
        "WAYBILL_SEED"
      ];
    expect([seedOf(7), seedOf()]).toEqual(["7", undefined]);
  });

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

  it.each([
    "GITHUB_PAT GH_TOKEN GITLAB_TOKEN NPM_TOKEN HF_TOKEN ACTIONS_ID_TOKEN_REQUEST_TOKEN SLURM_JWT",
    "DATABASE_URL DB_URL POSTGRES_URL MYSQL_URL MONGODB_URI REDIS_URL AMQP_URL RABBITMQ_URL BROKER_URL",
    "SQLALCHEMY_DATABASE_URI CELERY_BROKER_URL APP_MONGO_URI ELASTICSEARCH_URL",
    "MYSQL_PWD DB_PASS SMTP_PASS PGPASSWORD PGPASSFILE PGSERVICEFILE SSHPASS GPG_PASSPHRASE SUDO_PASSWD",
    "SENTRY_DSN PG_DSN AZ_CONNECTION_STRING STORAGE_SAS SLACK_WEBHOOK_URL SESSION_COOKIE",
    "KUBECONFIG NETRC SSH_AUTH_SOCK GPG_AGENT_INFO DOCKER_CONFIG DOCKER_AUTH_CONFIG npm_config__auth",
    "WANDB_API_KEY OPENAI_APIKEY DEPLOY_KEY SSH_PRIVATE_KEY ENCRYPTION_KEYS SERVICE_CREDS BASIC_AUTH",
    "AZURE_CLIENT_ID GOOGLE_CLOUD_PROJECT CLOUDSDK_CONFIG VAULT_ADDR R2_ACCOUNT_ID WAYBILL_DATA aws_profile",
  ])("leaves out %s (I10)", (names) => {
    const own = Object.fromEntries(names.split(" ").map((name) => [name, "x"]));
    const env = trainerEnvironment(own, assign({ command: ["x"] }), paths, []);
    expect(Object.keys(env).filter((name) => name in own)).toEqual([]);
    const passed = trainerEnvironment(own, assign({ command: ["x"] }), paths, names.split(" "));
    expect(passed).toMatchObject(own);
  });

  it.each([
    "PATH HOME USER LOGNAME SHELL LANG LC_ALL TZ TERM PWD OLDPWD TMPDIR TEMP XDG_CACHE_HOME XDG_SESSION_ID",
    "CUDA_VISIBLE_DEVICES CUDA_HOME NVIDIA_VISIBLE_DEVICES NCCL_DEBUG ROCR_VISIBLE_DEVICES HSA_OVERRIDE_GFX_VERSION",
    "LD_LIBRARY_PATH LD_PRELOAD DYLD_LIBRARY_PATH OMP_NUM_THREADS MKL_NUM_THREADS MASTER_ADDR WORLD_SIZE",
    "PYTHONPATH PYTHONHOME PYTHONHASHSEED VIRTUAL_ENV CONDA_PREFIX CONDA_DEFAULT_ENV NODE_OPTIONS NODE_PATH",
    "TOKENIZERS_PARALLELISM HF_HOME TORCH_HOME TRANSFORMERS_CACHE GIT_AUTHOR_NAME DISPLAY XAUTHORITY SLURM_JOB_ID",
    "HTTP_PROXY HTTPS_PROXY NO_PROXY SSL_CERT_FILE PIP_INDEX_URL HOSTNAME GPU_HEADING PATTERN KEYBOARD_LAYOUT",
  ])("keeps %s", (names) => {
    const own = Object.fromEntries(names.split(" ").map((name) => [name, "x"]));
    expect(trainerEnvironment(own, assign({ command: ["x"] }), paths, [])).toMatchObject(own);
  });

  it("leaves out values that carry a password or a private key under any name (I10)", () => {
    const own = {
      HTTP_PROXY: "http://ada:x%40y@proxy:3128",
      PIP_INDEX_URL: "https://:x@pypi.lab/simple",
      DEPLOY: "-----BEGIN OPENSSH PRIVATE KEY-----\nx",
      NO_PROXY: "localhost,10.0.0.0/8",
      HTTPS_PROXY: "http://proxy:3128",
      INDEX: "https://ada@pypi.lab:8443/a:b@c",
    };
    const env = trainerEnvironment(own, assign({ command: ["x"] }), paths, []);
    const left = Object.keys(env).filter((name) => name in own);
    expect(left).toEqual(["NO_PROXY", "HTTPS_PROXY", "INDEX"]);
  });

  it("cannot be given other places by the job", () => {
    const env = { WAYBILL_OUTPUT: "/etc", WAYBILL_DATASET: "/etc", LR: "1" };
    const made = trainerEnvironment({}, assign({ command: ["x"], env }), paths, []);
    expect(made).toMatchObject({ WAYBILL_OUTPUT: "/o", WAYBILL_CONFIG: "/c", LR: "1" });
    expect(made).not.toHaveProperty("WAYBILL_DATASET");
  });
});
