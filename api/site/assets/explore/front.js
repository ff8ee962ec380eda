// The front page: the latest articles, the latest claims with how they were answered, and how many there are.

import { answersOf } from "./api.js";
import { group } from "./groups.js";
import { make } from "./page.js";
import { articleItem, statementItem } from "./words.js";

export default async function show({ api }) {
  const [articles, claims, counts] = await answersOf([
    api.get("/v1/articles?sort=-published&limit=8&expand=sources"),
    api.get("/v1/claims?limit=8&expand=sources,denials"),
    api.get("/v1/claims/groups?by=response_family&by=metric&limit=8"),
  ]);
  const { sources, denials } = claims.included;
  const answers = (claim) => Object.values(denials)
    .filter((denial) => denial.targets.some((target) => target.claim_id === claim.id)).slice(0, 2);
  return {
    title: "Who claimed what",
    content: [
      make("h1", {}, "Who claimed what, and who denied it"),
      make("form.search", { action: "/explore/claims", role: "search" },
        make("label", { for: "q" }, "Search the claims"),
        make("input", { id: "q", name: "q", type: "search", maxlength: "500" }),
        make("button", {}, "Search")),
      articles.items.length + claims.items.length === 0 && make("p.standfirst", {}, "Nothing is recorded yet that you may see. The ", make("a", { href: "/docs" }, "documentation"), " says how records are made."),
      make("div.front", {},
        make("div", {},
          column("Articles", "/explore/articles", articles.items.map((article) => articleItem(article, articles.included.sources))),
          counts.total > 0 && make("section", {},
            make("h2", {}, make("a", { href: "/explore/groups" }, "Claims in numbers")),
            make("div.glance", {}, ["response_family", "metric"].map((name) => group("claims", name, counts, []))))),
        column("Latest claims", "/explore/claims", claims.items.map((claim) => statementItem(claim, "claim", sources, answers(claim))))),
    ],
  };
}

function column(heading, href, items) {
  return make("section", {},
    make("h2", {}, make("a", { href }, heading)),
    items.length ? make("ol.records", {}, items) : make("p.aside", {}, "None that you may see."));
}
