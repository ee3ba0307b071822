// Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
// The search of the pages runs in a worker, which browsers refuse to pages that are opened from a folder. There, a
// hidden frame takes the worker's place: it runs the same script and gets the same messages.
if (location.protocol === "file:") {
  // what the script of a worker calls to load others; here they are loaded one after the other
  function importScripts(...addresses) {
    return addresses.reduce(
      (before, address) =>
        before.then(
          () =>
            new Promise((resolve, reject) => {
              const script = document.createElement("script");
              script.src = address;
              script.onload = resolve;
              script.onerror = reject;
              document.body.appendChild(script);
            })
        ),
      Promise.resolve()
    );
  }

  window.Worker = class extends EventTarget {
    constructor(address) {
      super();
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      document.body.appendChild(this.frame);
      const inside = this.frame.contentWindow;
      this.ready = new Promise((resolve) => this.frame.addEventListener("load", resolve, { once: true }));
      this.answered = (event) => {
        if (event.source !== inside) return;
        this.dispatchEvent(new MessageEvent("message", { data: event.data }));
      };
      window.addEventListener("message", this.answered);
      inside.document.open();
      inside.document.write(
        "<html><body><script>" +
          "postMessage = (data) => window.parent.postMessage(data, '*', undefined);" +
          `importScripts = ${importScripts};` +
          `<\/script><script src="${new URL(address, location.href).href}"><\/script></body></html>`
      );
      inside.document.close();
    }

    postMessage(data) {
      const inside = this.frame.contentWindow;
      this.ready.then(() => inside.dispatchEvent(new MessageEvent("message", { data })));
    }

    terminate() {
      window.removeEventListener("message", this.answered);
      this.frame.remove();
    }
  };
}
