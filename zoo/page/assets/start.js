// A plain script, since modules do not load where the page was opened as a file.
(() => {
  // The smallest WebAssembly program with a vector in it, which ONNX Runtime needs.
  const vectors = [
    0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0,
    10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11,
  ];
  const missing = () => {
    if (location.protocol === "file:") {
      return "A browser runs this page only from a server. Type zoo page --serve, and it opens by itself.";
    }
    if (typeof WebAssembly !== "object") {
      return "This browser has no WebAssembly, or it is switched off, and the models need it. A current Firefox, Chrome, Edge or Safari has it.";
    }
    if (!WebAssembly.validate(new Uint8Array(vectors)) || typeof OffscreenCanvas !== "function") {
      return "This browser is too old for the page. A current Firefox, Chrome, Edge or Safari runs it.";
    }
    return "";
  };
  const words = missing();
  if (words) {
    document.getElementById("notice").textContent = words;
    return;
  }
  const script = document.createElement("script");
  script.type = "module";
  script.src = "page.js";
  document.head.append(script);
})();
