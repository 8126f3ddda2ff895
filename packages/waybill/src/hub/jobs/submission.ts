// What is checked before a job is stored: that everything its spec names is there. Every problem is told at once, with its
// field.
import {
  type ArtifactId,
  type ArtifactRecord,
  type ErrorCode,
  type JobDoc,
  type JobSpec,
  type RoomId,
  WaybillError,
  messageOf,
} from "@waybill/sdk/protocol";
import { assertMovable, assertPeoplesTags, resolveModel } from "@waybill/sdk/registry";
import type { Documents } from "../bucket/documents.ts";
import type { Caller } from "../http/handler.ts";
import { readRegistry } from "../registry/room-registry.ts";

export type SubmissionDeps = {
  readonly documents: Documents;
  readonly artifactRecord: (
    room: RoomId,
    artifact: ArtifactId,
  ) => Promise<ArtifactRecord | undefined>;
};

type Problem = { readonly code: ErrorCode; readonly text: string };

/** An alias's protection may change, but seldom; publishing checks it again. */
const REGISTRY_MAX_AGE_MS = 5000;

/**
 * What else the document has to know of what the spec names. Throws one error that names every field that is wrong, with
 * the code of the first.
 */
export async function checkSubmission(
  deps: SubmissionDeps,
  room: RoomId,
  spec: JobSpec,
  caller: Caller,
  nowMs: number,
): Promise<Pick<JobDoc, "parentArtifact">> {
  const [dataset, code, { problems: registered, ...facts }] = await Promise.all([
    artifactProblem(deps, room, "dataset", spec.dataset, nowMs),
    artifactProblem(deps, room, "code", spec.code, nowMs),
    registryFacts(deps, room, spec, caller),
  ]);
  const problems = [...dataset, ...code, ...registered, ...tagProblems(spec)];
  const [first] = problems;
  if (first === undefined) return facts;
  throw new WaybillError(first.code, problems.map(({ text }) => text).join("; "));
}

function tagProblems({ tags }: JobSpec): Problem[] {
  return problemOf("tags", () => assertPeoplesTags(tags));
}

async function artifactProblem(
  deps: SubmissionDeps,
  room: RoomId,
  field: "dataset" | "code",
  artifact: ArtifactId | undefined,
  nowMs: number,
): Promise<Problem[]> {
  if (artifact === undefined) return [];
  const record = await deps.artifactRecord(room, artifact);
  if (record === undefined) {
    return [
      { code: "not_found", text: `spec.${field}: room ${room} holds no artifact ${artifact}` },
    ];
  }
  if (record.expiresAt !== undefined && Date.parse(record.expiresAt) <= nowMs) {
    const text = `spec.${field}: artifact ${artifact} expired at ${record.expiresAt}; push it again`;
    return [{ code: "expired", text }];
  }
  return [];
}

async function registryFacts(
  deps: SubmissionDeps,
  room: RoomId,
  spec: JobSpec,
  caller: Caller,
): Promise<{ readonly problems: readonly Problem[]; readonly parentArtifact?: ArtifactId }> {
  const { alias, parent } = spec;
  if (alias === undefined && parent === undefined) return { problems: [] };
  const registry = await readRegistry(deps.documents, room, { maxAgeMs: REGISTRY_MAX_AGE_MS });
  const problems: Problem[] = [];
  let parentArtifact: ArtifactId | undefined;
  if (parent !== undefined) {
    problems.push(
      ...problemOf("parent", () => {
        parentArtifact = resolveModel(registry, parent).artifact;
      }),
    );
  }
  if (alias !== undefined) {
    const by = { owner: caller.role === "owner" };
    problems.push(...problemOf("alias", () => assertMovable(registry, alias, by)));
  }
  return parentArtifact === undefined ? { problems } : { problems, parentArtifact };
}

function problemOf(field: string, check: () => unknown): Problem[] {
  try {
    check();
    return [];
  } catch (error) {
    const code = error instanceof WaybillError ? error.code : "internal";
    return [{ code, text: `spec.${field}: ${messageOf(error)}` }];
  }
}
