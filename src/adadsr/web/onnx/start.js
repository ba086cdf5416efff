/** Starts the page on a network that runs in the browser: the start of a site of `adadsr export --web`. */
import { startPage } from "../page.js";
import { OnnxEngine } from "./engine.js";

startPage(new OnnxEngine(new URL("../", import.meta.url)));
