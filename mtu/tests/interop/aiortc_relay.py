"""Two aiortc peers that may use nothing but the relay: `aiortc_relay.py URL USER PASSWORD`.

Prints `echoed N` when N messages have gone there and back over a data channel.
"""

import asyncio
import sys

from aiortc import RTCConfiguration, RTCIceServer, RTCPeerConnection
from aiortc.rtcconfiguration import RTCIceTransportPolicy

MESSAGES = 50


def peer(url, username, password):
    server = RTCIceServer(urls=url, username=username, credential=password)
    return RTCPeerConnection(
        RTCConfiguration(iceServers=[server], iceTransportPolicy=RTCIceTransportPolicy.RELAY)
    )


def relayed_only(description):
    candidates = [line for line in description.sdp.splitlines() if line.startswith("a=candidate:")]
    assert candidates, "no candidate was gathered"
    assert all(" typ relay" in line for line in candidates), candidates


async def main():
    one, other = peer(*sys.argv[1:4]), peer(*sys.argv[1:4])
    done = asyncio.get_running_loop().create_future()
    channel = one.createDataChannel("echo")
    seen = 0

    @channel.on("open")
    def opened():
        for number in range(MESSAGES):
            channel.send(bytes([number]) * 1000)

    @channel.on("message")
    def echoed(message):
        nonlocal seen
        assert message == bytes([seen]) * 1000
        seen += 1
        if seen == MESSAGES:
            done.set_result(None)

    @other.on("datachannel")
    def arrived(theirs):
        theirs.on("message", theirs.send)

    await one.setLocalDescription(await one.createOffer())
    relayed_only(one.localDescription)
    await other.setRemoteDescription(one.localDescription)
    await other.setLocalDescription(await other.createAnswer())
    relayed_only(other.localDescription)
    await one.setRemoteDescription(other.localDescription)
    await asyncio.wait_for(done, 25)
    print(f"echoed {seen}")
    await one.close()
    await other.close()


asyncio.run(main())
