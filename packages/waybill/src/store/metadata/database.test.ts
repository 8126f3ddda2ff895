import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { MetadataDatabase } from "./database.ts";

async function withDatabase(
  work: (db: MetadataDatabase, path: string) => Promise<void>,
): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), "waybill-metadata-"));
  const path = join(directory, "metadata.db");
  const db = new MetadataDatabase(path);
  db.open();
  try {
    await work(db, path);
  } finally {
    db.close();
    await rm(directory, { recursive: true, force: true });
  }
}

function insert(db: MetadataDatabase, name: string): void {
  db.prepare("INSERT INTO buckets (name, created) VALUES (?, 0)").run(name);
}

function names(db: MetadataDatabase): unknown[] {
  return db
    .prepare("SELECT name FROM buckets ORDER BY name")
    .all()
    .map((row) => row["name"]);
}

test("undoes the one that fails and commits the others of the same batch", () =>
  withDatabase(async (db) => {
    const outcomes = await Promise.allSettled([
      db.transact(() => insert(db, "a")),
      db.transact(() => {
        insert(db, "b");
        throw new Error("no");
      }),
      db.transact(() => insert(db, "c")),
    ]);
    expect(outcomes.map((outcome) => outcome.status)).toEqual([
      "fulfilled",
      "rejected",
      "fulfilled",
    ]);
    expect(names(db)).toEqual(["a", "c"]);
  }));

test("runs effects after the commit, and none of work that failed", () =>
  withDatabase(async (db) => {
    const effects: string[] = [];
    await Promise.allSettled([
      db.transact((transaction) => {
        insert(db, "a");
        transaction.afterCommit(() => effects.push(`a of ${names(db).join()}`));
      }),
      db.transact((transaction) => {
        transaction.afterCommit(() => effects.push("never"));
        throw new Error("no");
      }),
    ]);
    expect(effects).toEqual(["a of a"]);
  }));

test("commits what is queued when it is closed, and keeps it", () =>
  withDatabase(async (db, path) => {
    const pending = db.transact(() => insert(db, "late"));
    db.close();
    await pending;
    const again = new MetadataDatabase(path);
    again.open();
    expect(names(again)).toEqual(["late"]);
    again.close();
  }));

test("refuses a second owner of the same file", () =>
  withDatabase(async (_, path) => {
    const second = new MetadataDatabase(path);
    expect(() => second.open()).toThrow(/locked/);
    await Promise.resolve();
  }));

test("rejects everything once it is closed", () =>
  withDatabase(async (db) => {
    db.close();
    await expect(db.transact(() => 1)).rejects.toThrow(/not open/);
  }));
