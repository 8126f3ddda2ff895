// The part of the W3C WebSocket that is used; the global one of browsers and Node fits.
export type SocketLike = {
  readonly bufferedAmount: number;
  send(text: string): void;
  close(code?: number, reason?: string): void;
  addEventListener(type: "open" | "error", listener: () => void): void;
  addEventListener(type: "message", listener: (event: { readonly data: unknown }) => void): void;
  addEventListener(
    type: "close",
    listener: (event: { readonly code: number; readonly reason: string }) => void,
  ): void;
};
export type SocketConstructor = new (url: string) => SocketLike;
