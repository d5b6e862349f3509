import { createHash } from "node:crypto";
import { cpSync, existsSync, readFileSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import { type Plugin, defineConfig } from "vite";

const network = join(import.meta.dirname, "network");

/** Copy the network into the page, and list its files for the service worker. */
function offline(): Plugin {
  let out = "";
  const all = (folder: string): string[] => readdirSync(folder).flatMap((one) => (statSync(join(folder, one)).isDirectory() ? all(join(folder, one)) : [join(folder, one)]));
  return {
    name: "offline",
    apply: "build",
    generateBundle(_, bundle) {
      // NiiVue fetches these to read Zarr, which this page does not open
      for (const name of Object.keys(bundle)) if (/\/(blosc|lz4|zstd)-/.test(name)) delete bundle[name];
    },
    configResolved: (config) => void (out = config.build.outDir),
    closeBundle() {
      const root = join(import.meta.dirname, out);
      if (!existsSync(join(root, "index.html"))) return;
      if (!existsSync(network)) throw new Error("web/network is missing: make web");
      cpSync(network, join(root, "network"), { recursive: true });
      const files = all(root).filter((file) => !file.endsWith("sw.js")).sort();
      const hash = createHash("sha256");
      files.forEach((file) => hash.update(file).update(readFileSync(file)));
      const names = ["./", ...files.map((file) => `./${relative(root, file)}`)];
      const worker = readFileSync(join(import.meta.dirname, "sw.js"), "utf8");
      writeFileSync(join(root, "sw.js"), worker.replace('"FILES"', JSON.stringify(names)).replace("VERSION", hash.digest("hex").slice(0, 12)));
    },
  };
}

export default defineConfig({
  base: "./",
  define: { __VERSION__: JSON.stringify(JSON.parse(readFileSync(join(import.meta.dirname, "package.json"), "utf8")).version) },
  resolve: { conditions: ["onnxruntime-web-use-extern-wasm", "module", "browser", "production"] },
  worker: { format: "es" },
  build: { target: "es2022", chunkSizeWarningLimit: 5000, assetsInlineLimit: 0 },
  plugins: [offline()],
});
