import { afterAll, describe, expect, it } from "vitest";
import { closeWebRtc, loadWebRtc, webRtcProblem } from "./webrtc.ts";

afterAll(() => closeWebRtc());

describe("WebRTC in Node", () => {
  it("is loaded once and makes peer connections, or says why not", async () => {
    const loaded = await loadWebRtc();
    expect(await loadWebRtc()).toBe(loaded);
    expect(loaded === undefined).toBe(webRtcProblem() !== undefined);
    const connection = loaded === undefined ? undefined : new loaded({ iceServers: [] });
    expect(connection?.connectionState ?? "new").toBe("new");
    connection?.close();
  });

  it("can be closed twice and loaded again", async () => {
    const before = await loadWebRtc();
    closeWebRtc();
    closeWebRtc();
    const again = await loadWebRtc();
    expect(again === undefined).toBe(before === undefined);
    const connection = again === undefined ? undefined : new again({ iceServers: [] });
    expect(connection?.connectionState ?? "new").toBe("new");
    connection?.close();
  });
});
