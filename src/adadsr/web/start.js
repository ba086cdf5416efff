/** Starts the page on the engine of this site. A site with another engine has another start.js. */
import { HttpEngine } from "./http-engine.js";
import { startPage } from "./page.js";

startPage(new HttpEngine(new URL("./", location.href)));
