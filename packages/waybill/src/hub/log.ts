// How the hub says what it does: one line a fact, fields for machines. Secrets never become fields (I10):
// log ids, counts and codes, not headers, bodies or URLs.

export type LogLevel = "debug" | "info" | "warn" | "error";

export type LogFields = Readonly<Record<string, string | number | boolean | undefined>>;

export type Log = (level: LogLevel, message: string, fields?: LogFields) => void;

/** Says nothing. */
export const silentLog: Log = () => {};

/** Milliseconds since the epoch; injected so that tests decide what time it is. */
export type Clock = () => number;
