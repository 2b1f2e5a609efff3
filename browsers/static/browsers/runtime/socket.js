/** A socket to the worker process that connects again by itself, with growing pauses. */

const RECONNECT_MS = [0, 10, 20, 50, 100, 250, 500, 1000];

export class Socket {
  /** @type {WebSocket} */
  #socket;
  #failedAttempts = 0;
  /** @type {(() => void) | null} */
  #ending = null;

  /**
   * @param {string} url
   * @param {{received: (frame: ArrayBuffer) => void, opened?: () => void}} to
   */
  constructor(url, to) {
    this.url = url;
    this.to = to;
    this.#socket = this.#connect();
  }

  #connect() {
    const current = new WebSocket(this.url);
    current.binaryType = 'arraybuffer';
    current.onopen = () => {
      this.#failedAttempts = 0;
      this.to.opened?.();
    };
    current.onmessage = ({ data }) => this.to.received(data);
    current.onclose = () => {
      if (this.#ending) {
        this.#ending();
        return;
      }
      const pause = RECONNECT_MS[Math.min(this.#failedAttempts, RECONNECT_MS.length - 1)];
      this.#failedAttempts += 1;
      setTimeout(() => {
        this.#socket = this.#connect();
      }, pause);
    };
    return current;
  }

  /**
   * What cannot be sent is given up: whoever waits for it sees the connection end.
   * @param {ArrayBuffer} frame
   */
  send(frame) {
    if (this.#socket.readyState === WebSocket.OPEN) {
      this.#socket.send(frame);
    }
  }

  /**
   * It does not connect again.
   * @param {() => void} closed called once the other end has closed it, and so has all that was sent
   */
  end(closed) {
    this.#ending = closed;
    if (this.#socket.readyState === WebSocket.CLOSED) {
      closed();
    }
  }
}
