/**
 * The metadata file: one SQLite database in WAL mode, synced at every commit. Writes that arrive
 * together share one commit (and so one fsync), yet each keeps its own fate through a savepoint:
 * a failed precondition undoes its own work only. Reads never see an uncommitted write.
 */
import { DatabaseSync, type StatementSync } from "node:sqlite";
import { isDiskFull } from "../s3-error.ts";
import type { DiskReserve } from "./disk-reserve.ts";
import { schema } from "./schema.ts";

/** What a transaction's work may ask for beside reading and writing. */
export interface Transaction {
  /** Runs `effect` once the commit is durable; not at all when it fails. */
  afterCommit(effect: () => void): void;
}

export interface TransactionOptions {
  /** Set when the work deletes: it may then use the space set aside for a full disk. */
  readonly freesSpace?: boolean;
}

interface Pending {
  readonly freesSpace: boolean;
  readonly work: (transaction: Transaction) => unknown;
  readonly resolve: (value: unknown) => void;
  readonly reject: (cause: unknown) => void;
}

/** Writes in one commit; bounds how long the event loop is held (about 10 ms). */
const MAX_BATCH = 128;

export class MetadataDatabase {
  readonly #path: string;
  readonly #reserve: DiskReserve | undefined;
  readonly #statements = new Map<string, StatementSync>();
  #database: DatabaseSync | undefined;
  #queue: Pending[] = [];
  #scheduled = false;

  constructor(path: string, reserve?: DiskReserve) {
    this.#path = path;
    this.#reserve = reserve;
  }

  /**
   * Opens the file, creating it when absent.
   *
   * @throws when another process holds it (SQLite's `database is locked`) or it is unreadable
   */
  open(): void {
    const database = new DatabaseSync(this.#path);
    try {
      // Exclusive: one process owns a data directory, and WAL then needs no shared memory.
      database.exec(`
        PRAGMA locking_mode = EXCLUSIVE;
        PRAGMA journal_mode = WAL;
        PRAGMA synchronous = FULL;
        PRAGMA cache_size = -16384;
        PRAGMA journal_size_limit = 67108864;
      `);
      database.exec(`BEGIN IMMEDIATE; ${schema} COMMIT;`);
    } catch (error) {
      database.close();
      throw error;
    }
    this.#database = database;
    this.#reserve?.ensure();
  }

  /** Commits what is queued and closes the file. Idempotent. */
  close(): void {
    while (this.#queue.length > 0) this.#flush();
    this.#statements.clear();
    this.#database?.close();
    this.#database = undefined;
  }

  /** A prepared statement, made once per text. */
  prepare(sql: string): StatementSync {
    let statement = this.#statements.get(sql);
    if (!statement) {
      statement = this.#open().prepare(sql);
      this.#statements.set(sql, statement);
    }
    return statement;
  }

  /**
   * Runs `work` (synchronous, free to throw) in a transaction and resolves with its value once it
   * is on disk. When `work` throws, nothing of it remains and the promise rejects with that error.
   */
  transact<T>(
    work: (transaction: Transaction) => T,
    { freesSpace = false }: TransactionOptions = {},
  ): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      this.#queue.push({ freesSpace, work, resolve: resolve as (value: unknown) => void, reject });
      if (this.#scheduled) return;
      this.#scheduled = true;
      setImmediate(() => {
        this.#scheduled = false;
        while (this.#queue.length > 0) this.#flush();
      });
    });
  }

  #open(): DatabaseSync {
    if (!this.#database) throw new Error("The store's metadata is not open.");
    return this.#database;
  }

  #flush(): void {
    const batch = this.#queue.splice(0, MAX_BATCH);
    try {
      this.#commit(batch);
    } catch (error) {
      const deletions = batch.filter((pending) => pending.freesSpace);
      const retry = isDiskFull(error) && deletions.length > 0 && this.#reserve?.release() === true;
      for (const pending of batch) {
        if (!retry || !pending.freesSpace) pending.reject(error);
      }
      if (retry) this.#queue.unshift(...deletions);
    }
  }

  /** Runs and commits a batch, then settles each of it; throws when nothing was committed. */
  #commit(batch: readonly Pending[]): void {
    const settle: (() => void)[] = [];
    const effects: (() => void)[] = [];
    const database = this.#open();
    database.exec("BEGIN IMMEDIATE");
    try {
      for (const pending of batch) settle.push(this.#runOne(database, pending, effects));
      database.exec("COMMIT");
    } catch (error) {
      if (database.isTransaction) database.exec("ROLLBACK");
      throw error;
    }
    for (const effect of effects) effect();
    for (const done of settle) done();
  }

  #runOne(database: DatabaseSync, pending: Pending, effects: (() => void)[]): () => void {
    const own: (() => void)[] = [];
    database.exec("SAVEPOINT one");
    try {
      const value = pending.work({ afterCommit: (effect) => own.push(effect) });
      database.exec("RELEASE one");
      effects.push(...own);
      return () => pending.resolve(value);
    } catch (error) {
      // A full disk fails (and may have ended) the whole transaction: the batch fails together.
      if (!database.isTransaction || isDiskFull(error)) throw error;
      database.exec("ROLLBACK TO one; RELEASE one");
      return () => pending.reject(error);
    }
  }
}
