# Speaks as SLEAP's and sleap-nn's callbacks do, with the libraries they use: both sockets connect, strings of
# jsonpickle are published, and after each batch a command is looked for.
import os
import signal
import sys
import time

import jsonpickle
import numpy
import zmq

controller_port, publish_port, epochs = sys.argv[1:4]
signal.signal(signal.SIGTERM, lambda *_: (print("SIGTERM", flush=True), os._exit(1)))

context = zmq.Context()
controller = context.socket(zmq.SUB)
controller.subscribe("")
controller.connect(f"tcp://127.0.0.1:{controller_port}")
publisher = context.socket(zmq.PUB)
publisher.connect(f"tcp://127.0.0.1:{publish_port}")


def tell(event, **rest):
    publisher.send_string(jsonpickle.encode(dict(what="centroid", event=event, **rest)))


time.sleep(0.7)  # it loads its data
tell("train_begin", logs=None)
stop = False
for epoch in range(int(epochs)):
    tell("epoch_begin", epoch=epoch, logs=None)
    for batch in range(3):
        tell("batch_end", epoch=epoch, batch=batch, logs={"loss": numpy.float32(1)})
        if controller.poll(10, zmq.POLLIN):
            message = jsonpickle.decode(controller.recv_string())
            stop = message["command"] == "stop"
            print(f"heard {message}", flush=True)
    tell("epoch_end", epoch=epoch, logs={"loss": numpy.float32(0.5), "val_loss": 0.25, "lr": float("nan")})
    if epoch == 0:
        print("first epoch", flush=True)
    if stop:
        break
tell("train_end", logs=None)
time.sleep(0.2)  # it evaluates its model
with open(os.path.join(os.environ["WAYBILL_OUTPUT"], "best.ckpt"), "w") as model:
    model.write("weights")
publisher.setsockopt(zmq.LINGER, 0)
publisher.close()
controller.close()
context.term()
