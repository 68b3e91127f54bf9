// Bundles the applications: `node bundle.mjs vite|webpack`, or serves one in Vite's dev server.
import { build, createServer } from "vite";
import webpack from "webpack";

const [what] = process.argv.slice(2);
const root = import.meta.dirname;

/** React's double effects are a matter of its development build. */
const forDevelopment = {
  root,
  base: "./",
  configFile: false,
  logLevel: "warn",
  mode: "development",
  define: { "process.env.NODE_ENV": '"development"' },
};

if (what === "vite") {
  for (const page of ["app", "react", "readme", "next"]) {
    await build({
      ...forDevelopment,
      build: { outDir: `dist/vite-${page}`, rollupOptions: { input: `${root}/${page}.html` } },
    });
  }
} else if (what === "vite-dev") {
  const server = await createServer({
    ...forDevelopment,
    cacheDir: `${root}/dist/vite-cache`,
    server: { host: "127.0.0.1", port: 0, hmr: false, ws: false },
  });
  await server.listen();
  console.log(`listening on ${server.httpServer.address().port}`);
} else {
  const compiler = webpack({
    mode: "production",
    context: root,
    entry: "./app.webpack.js",
    output: { path: `${root}/dist/webpack`, filename: "app.js", publicPath: "auto", module: true },
    experiments: { outputModule: true },
    devtool: false,
  });
  compiler.run((error, stats) => {
    if (error || stats.hasErrors()) {
      console.error(error ?? stats.toString());
      process.exitCode = 1;
    }
  });
}
