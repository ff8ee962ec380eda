export default {
  output: { path: "generated/hey", module: { extension: ".ts" } },
  plugins: ["@hey-api/client-fetch"],
  logs: { file: false },
};
