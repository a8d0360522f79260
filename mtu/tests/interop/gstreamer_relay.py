"""Two webrtcbin peers that may use nothing but the relay: `gstreamer_relay.py URL`, where URL is
`turn://USER:PASSWORD@HOST:PORT?transport=udp` with user and password percent-encoded.

Sends VP8 and prints `frames N` when N of them have been decoded.
"""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstWebRTC", "1.0")
gi.require_version("GstSdp", "1.0")
from gi.repository import GLib, Gst, GstSdp, GstWebRTC  # noqa: E402

FRAMES = 30
PATIENCE_S = 25

Gst.init(None)
loop = GLib.MainLoop()
pipeline = Gst.parse_launch(
    "webrtcbin name=sender bundle-policy=max-bundle ice-transport-policy=relay "
    "webrtcbin name=receiver bundle-policy=max-bundle ice-transport-policy=relay "
    "videotestsrc is-live=true ! video/x-raw,width=320,height=240,framerate=30/1 "
    "! vp8enc deadline=1 ! rtpvp8pay "
    "! application/x-rtp,media=video,encoding-name=VP8,payload=96 ! sender."
)
sender, receiver = pipeline.get_by_name("sender"), pipeline.get_by_name("receiver")
state = {"frames": 0, "candidates": 0, "wrong": None}


def fail(reason):
    state["wrong"] = reason
    loop.quit()


def candidate(_bin, line, text, other):
    if " typ relay" not in text:
        fail(f"gathered beside the relay: {text}")
    state["candidates"] += 1
    other.emit("add-ice-candidate", line, text)


def described(promise, which, kind, then):
    promise.wait()
    # The description is the reply's own: it must live as long as it is looked at.
    reply = promise.get_reply()
    description = reply.get_value(kind)
    which.emit("set-local-description", description, Gst.Promise.new())
    then(description.type, description.sdp.as_text())


def parsed(kind, text):
    _, message = GstSdp.SDPMessage.new_from_text(text)
    return GstWebRTC.WebRTCSessionDescription.new(kind, message)


def answered(kind, text):
    sender.emit("set-remote-description", parsed(kind, text), Gst.Promise.new())


def offered(kind, text):
    def answer(promise, *_):
        promise.wait()
        made = Gst.Promise.new_with_change_func(described, receiver, "answer", answered)
        receiver.emit("create-answer", None, made)

    taken = Gst.Promise.new_with_change_func(answer)
    receiver.emit("set-remote-description", parsed(kind, text), taken)


def negotiate(_bin):
    made = Gst.Promise.new_with_change_func(described, sender, "offer", offered)
    sender.emit("create-offer", None, made)


def frame(_pad, _info):
    state["frames"] += 1
    if state["frames"] == FRAMES:
        GLib.idle_add(loop.quit)
    return Gst.PadProbeReturn.OK


def arrived(_bin, pad):
    if pad.direction != Gst.PadDirection.SRC:
        return
    rest = Gst.parse_bin_from_description(
        "rtpvp8depay ! vp8dec ! fakesink name=sink sync=false async=false", True
    )
    pipeline.add(rest)
    rest.sync_state_with_parent()
    rest.get_by_name("sink").get_static_pad("sink").add_probe(Gst.PadProbeType.BUFFER, frame)
    pad.link(rest.get_static_pad("sink"))


for peer, other in ((sender, receiver), (receiver, sender)):
    peer.emit("add-turn-server", sys.argv[1])
    peer.connect("on-ice-candidate", candidate, other)
sender.connect("on-negotiation-needed", negotiate)
receiver.connect("pad-added", arrived)
bus = pipeline.get_bus()
bus.add_signal_watch()
bus.connect("message::error", lambda _bus, message: fail(message.parse_error()))
GLib.timeout_add_seconds(PATIENCE_S, lambda: fail(f"too slow: {state}"))
pipeline.set_state(Gst.State.PLAYING)
loop.run()
pipeline.set_state(Gst.State.NULL)
if state["wrong"] or not state["candidates"]:
    sys.exit(f"failed: {state}")
print(f"frames {state['frames']}")
