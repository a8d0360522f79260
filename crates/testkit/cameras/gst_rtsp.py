#!/usr/bin/python3
"""A camera for tests: GStreamer's RTSP server with a test picture and a tone of 440 Hz.

Prints READY when it listens. The stream is at rtsp://HOST:PORT/main, 25 pictures per second.
With --resize-every the picture alternates between two sizes, so that its parameters change.
Needs: gir1.2-gst-rtsp-server-1.0 python3-gi gstreamer1.0-plugins-base, -good, -bad, -ugly, gstreamer1.0-libav
"""
import argparse
import signal
import sys

try:
    import gi

    gi.require_version("Gst", "1.0")
    gi.require_version("GstRtsp", "1.0")
    gi.require_version("GstRtspServer", "1.0")
    from gi.repository import GLib, Gst, GstRtsp, GstRtspServer
except (ImportError, ValueError) as error:
    print(f"MISSING {error}", flush=True)
    sys.exit(77)

VIDEO = {
    "h264": "x264enc name=enc tune=zerolatency speed-preset=ultrafast bitrate={bitrate} key-int-max={gop}"
    " ! video/x-h264,profile=constrained-baseline ! rtph264pay name=pay0 pt=96 config-interval=-1",
    "h265": "x265enc name=enc tune=zerolatency speed-preset=ultrafast bitrate={bitrate} key-int-max={gop}"
    " ! rtph265pay name=pay0 pt=96 config-interval=-1",
    "jpeg": "video/x-raw,format=I420 ! jpegenc ! rtpjpegpay name=pay0 pt=26",
}
AUDIO = {
    "aac": "audio/x-raw,rate={rate},channels=1 ! voaacenc bitrate=64000 ! aacparse ! rtpmp4gpay name=pay1 pt=97",
    "pcmu": "audio/x-raw,rate=8000,channels=1 ! mulawenc ! rtppcmupay name=pay1 pt=0",
    "pcma": "audio/x-raw,rate=8000,channels=1 ! alawenc ! rtppcmapay name=pay1 pt=8",
    "g722": "audio/x-raw,rate=16000,channels=1 ! avenc_g722 ! rtpg722pay name=pay1 pt=9",
    "opus": "audio/x-raw,rate=48000,channels=1 ! opusenc ! rtpopuspay name=pay1 pt=97",
}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--address", default="127.0.0.1")
    parser.add_argument("--port", default="8554")
    parser.add_argument("--codec", choices=[*VIDEO, "none"], default="h264")
    parser.add_argument("--audio", choices=[*AUDIO, "none"], default="none")
    parser.add_argument("--audio-rate", type=int, default=44100, help="of AAC")
    parser.add_argument("--size", default="640x360")
    parser.add_argument("--gop", type=int, default=25, help="pictures from keyframe to keyframe")
    parser.add_argument("--bitrate", type=int, default=800, help="of the picture, in kbit/s")
    parser.add_argument("--pattern", default="ball", help="of videotestsrc; snow fills any bitrate")
    parser.add_argument("--user")
    parser.add_argument("--password", default="")
    parser.add_argument("--resize-every", type=float, help="seconds")
    return parser.parse_args()


def caps(size):
    width, height = size.split("x")
    return f"video/x-raw,width={width},height={height},framerate=25/1"


def launch(options):
    branches = []
    if options.codec != "none":
        branches.append(
            f"videotestsrc is-live=true pattern={options.pattern} ! capsfilter name=size caps={caps(options.size)}"
            " ! videoconvert ! " + VIDEO[options.codec].format(gop=options.gop, bitrate=options.bitrate)
        )
    if options.audio != "none":
        tone = AUDIO[options.audio].format(rate=options.audio_rate)
        if options.codec == "none":
            tone = tone.replace("pay1", "pay0")
        branches.append(
            "audiotestsrc is-live=true freq=440 volume=0.5 ! audioconvert ! audioresample ! " + tone
        )
    return "( " + "  ".join(branches) + " )"


def require_login(server, factory, options):
    auth = GstRtspServer.RTSPAuth()
    auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "viewer")
    auth.add_digest(options.user, options.password, token)
    server.set_auth(auth)
    factory.add_role_from_structure(
        Gst.Structure.from_string(
            "viewer,media.factory.access=(boolean)true,media.factory.construct=(boolean)true"
        )[0]
    )


def alternate_sizes(media, options):
    sizes = [options.size, "320x180"]
    capsfilter = media.get_element().get_by_name("size")

    def change():
        sizes.reverse()
        capsfilter.set_property("caps", Gst.Caps.from_string(caps(sizes[0])))
        return True

    GLib.timeout_add(int(options.resize_every * 1000), change)


def main():
    options = arguments()
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address(options.address)
    server.set_service(options.port)
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(launch(options))
    factory.set_shared(True)
    factory.set_latency(0)
    if options.resize_every:
        factory.connect("media-configure", lambda _, media: alternate_sizes(media, options))
    if options.user:
        require_login(server, factory, options)
    server.get_mount_points().add_factory("/main", factory)
    if server.attach(None) == 0:
        print("FAILED to listen", flush=True)
        sys.exit(1)
    loop = GLib.MainLoop()
    for number in (signal.SIGTERM, signal.SIGINT):
        GLib.unix_signal_add(GLib.PRIORITY_DEFAULT, number, loop.quit)
    print(f"READY {server.get_bound_port()}", flush=True)
    loop.run()


main()
