// Custom resources by their published schemas: node custom_resources.mjs NODE_MODULES < JSON array; throws what is wrong.
import fs from "node:fs";
import { pathToFileURL } from "node:url";

const modules = process.argv[2];
const homes = { "argoproj.io": "argo-cd", "toolkit.fluxcd.io": "flux-cd" };
for (const document of JSON.parse(fs.readFileSync(0, "utf8"))) {
  const [group, version] = document.apiVersion.split("/");
  const home = homes[group] ?? homes[group.split(".").slice(1).join(".")];
  const path = `${modules}/@kubernetes-models/${home}/${group}/${version}/${document.kind}.js`;
  const made = new (await import(pathToFileURL(path).href))[document.kind](document);
  made.validate();
  console.log(`${document.kind} ${document.metadata.name} is valid`);
}
