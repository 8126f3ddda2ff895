// What a route's handler gets and gives. `app.ts` does the rest for all of them: authorisation by the
// route's roles, decoding by its schemas, errors as JSON.
import type {
  RoomId,
  Role,
  RouteBody,
  RouteName,
  RouteOutput,
  RouteParams,
  RouteQuery,
} from "@waybill/sdk/protocol";

/** Who calls: proven by token and key. */
export type Caller = {
  readonly room: RoomId;
  readonly role: Role;
  /** Key thumbprint, or `owner` for a bearer owner token: what history and logs name. */
  readonly subject: string;
  readonly tokenId: string;
  /** Thumbprint of the key the token is bound to. */
  readonly jkt?: string;
  /** Thumbprint of the key that made the request's proof; absent for an owner's request without one. */
  readonly proofKey?: string;
  /** Worker key the token was minted for. */
  readonly workerKey?: string;
};

export type Call<N extends RouteName> = {
  readonly params: RouteParams<N>;
  readonly query: RouteQuery<N>;
  readonly body: RouteBody<N>;
  /** Absent on public routes only. */
  readonly caller: Caller | undefined;
  /** Body of the routes whose body is binary; empty otherwise. */
  readonly bytes: Uint8Array;
  /** Address the request came from, for rate limits. */
  readonly remote: string;
  readonly signal: AbortSignal;
};

export type Handler<N extends RouteName> = (call: Call<N>) => Promise<RouteOutput<N>>;

/** The handlers of one area of the hub; the areas together cover the whole route table. */
export type Handlers<N extends RouteName> = { readonly [K in N]: Handler<K> };
