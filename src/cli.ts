#!/usr/bin/env node
import { createCli } from './command_line/program.ts';

await createCli().parseAsync();
