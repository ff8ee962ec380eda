// Start Swagger UI over our own OpenAPI document, and let it follow the reader's colour scheme.
"use strict";

const dark = window.matchMedia("(prefers-color-scheme: dark)");
const applyScheme = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", applyScheme);
applyScheme();

window.SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#docs",
  deepLinking: true,
  displayRequestDuration: true,
  filter: true,
  // By default it would send the document to a validator on another host.
  validatorUrl: null,
});
