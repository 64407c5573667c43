// SPDX-License-Identifier: Apache-2.0
/* tree.c - "vireo tree": which running machine is a fork of which; see clone.h */
#include "clone/clone.h"
#include "ctl/ctl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct node {
	char name[CFG_NAME], parent[CFG_NAME], state[16];
};

struct tree {
	struct node *node;
	unsigned nr;
};

static const char *string_of(json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

/* A machine that ended meanwhile is left out. */
static int add(const char *name, void *ctx)
{
	struct tree *t = ctx;
	struct ctl_reply reply;
	struct err e = { 0 };
	struct node *n;

	if (ctl_ask(name, "GET", "/vireo/v1/vm", NULL, &reply, &e))
		return 0;
	n = realloc(t->node, (t->nr + 1) * sizeof *n);
	if (!n)
		return -ENOMEM;
	t->node = n;
	n += t->nr++;
	snprintf(n->name, sizeof n->name, "%s", name);
	snprintf(n->parent, sizeof n->parent, "%s", string_of(reply.body, "parent"));
	snprintf(n->state, sizeof n->state, "%s", string_of(reply.body, "state"));
	json_decref(reply.body);
	return 0;
}

static bool is_there(const struct tree *t, const char *name)
{
	for (unsigned i = 0; i < t->nr; i++)
		if (!strcmp(t->node[i].name, name))
			return true;
	return false;
}

/* Children of @parent; names are unique and a parent is older, so that this ends. */
static void print_below(const struct tree *t, const char *parent, unsigned depth)
{
	for (unsigned i = 0; i < t->nr && depth < t->nr; i++) {
		const struct node *n = &t->node[i];

		if (strcmp(n->parent, parent) != 0 || !strcmp(n->name, parent))
			continue;
		printf("%*s%s  %s\n", (int)(2 * depth), "", n->name, n->state);
		print_below(t, n->name, depth + 1);
	}
}

static void print_tree(const struct tree *t)
{
	for (unsigned i = 0; i < t->nr; i++) {
		const struct node *n = &t->node[i];

		if (*n->parent && is_there(t, n->parent))
			continue;
		printf("%s  %s", n->name, n->state);
		printf(*n->parent ? "  (a fork of %s, which ended)\n" : "\n", n->parent);
		print_below(t, n->name, 1);
	}
}

static void print_json(const struct tree *t)
{
	json_t *list = json_array();
	char *text;

	for (unsigned i = 0; i < t->nr; i++) {
		const struct node *n = &t->node[i];

		json_array_append_new(list, json_pack("{s:s, s:s, s:s*}", "name", n->name, "state",
						      n->state, "parent",
						      *n->parent ? n->parent : NULL));
	}
	text = json_dumps(list, JSON_COMPACT);
	puts(text ? text : "[]");
	free(text);
	json_decref(list);
}

int clone_tree_main(int argc, char **argv)
{
	bool json = argc == 1 && !strcmp(argv[0], "--json");
	struct tree t = { 0 };
	struct err e = { 0 };

	if (argc == 1 && (!strcmp(argv[0], "--help") || !strcmp(argv[0], "-h"))) {
		puts("usage: vireo tree [--json]\n\n"
		     "Running machines, each fork below the one it was made of.");
		return 0;
	}
	if (argc > json) {
		fprintf(stderr, "vireo: tree: \"%.80s\": want --json or nothing\n", argv[0]);
		return CTL_USAGE;
	}
	if (ctl_each(add, &t, &e)) {
		fprintf(stderr, "vireo: tree: %s\n", e.code ? e.msg : "out of memory");
		return CTL_FAILED;
	}
	if (json)
		print_json(&t);
	else
		print_tree(&t);
	free(t.node);
	return 0;
}
