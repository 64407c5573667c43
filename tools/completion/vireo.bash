# bash completion for vireo; source this file, or install it as
# /usr/share/bash-completion/completions/vireo

_vireo_run() {
  local cur=$1 prev=$2 o
  local opts="--engine --irqchip --cgroup --parent-cgroup --cpus --cpu --code-cache --perf-map --trace --memory --kernel --firmware --initrd
    --initrd-args --cmdline --disk --net --share --balloon --vsock
    --transport --boot-timer --mmds --pmem --hotplug-memory --vhost-user
    --serial --jail --name --agent --debug-exit --test-device --json --help -v --"
  case $prev in
    --engine) COMPREPLY=($(compgen -W "auto soft kvm" -- "$cur")) ;;
    --cgroup) COMPREPLY=($(compgen -W "off memory.max= cpu.max= pids.max= io.max=" -- "$cur")); compopt -o nospace ;;
    --irqchip) COMPREPLY=($(compgen -W "kernel split" -- "$cur")) ;;
    --jail) COMPREPLY=($(compgen -W "on off report" -- "$cur")) ;;
    --cpu) COMPREPLY=($(compgen -W "x86-64-v3 x86-64-v2 max" -- "$cur")) ;;
    --cpus) COMPREPLY=($(compgen -W "1 2 4 8" -- "$cur")) ;;
    --memory) COMPREPLY=($(compgen -W "512M 1G 2G 4G" -- "$cur")) ;;
    --kernel | --firmware | --initrd | --mmds) COMPREPLY=($(compgen -f -- "$cur")); compopt -o filenames ;;
    --share) COMPREPLY=($(compgen -d -- "$cur")); compopt -o filenames -o nospace ;;
    --balloon) COMPREPLY=($(compgen -W "off 0M, deflate-on-oom hinting no-reporting stats=" -- "$cur")) ;;
    --transport) COMPREPLY=($(compgen -W "pci mmio" -- "$cur")) ;;
    --vsock) COMPREPLY=($(compgen -W "cid= cid=3,path=" -- "$cur")); compopt -o nospace ;;
    --net) COMPREPLY=($(compgen -W "user user,forward= tap= none" -- "$cur")); compopt -o nospace ;;
    --serial) COMPREPLY=($(compgen -W "stdio pty unix: file: none" -- "$cur")); compopt -o nospace ;;
    --disk)
      COMPREPLY=()
      while IFS= read -r o; do COMPREPLY+=("path=$o"); done < <(compgen -f -- "${cur#path=}")
      compopt -o nospace ;;
    --cmdline | --name) COMPREPLY=() ;;
    *) COMPREPLY=($(compgen -W "$opts" -- "$cur")) ;;
  esac
}

_vireo_image() {
  case $2 in
    -o | --output) COMPREPLY=($(compgen -f -- "$1")); compopt -o filenames ;;
    --size) COMPREPLY=($(compgen -W "2G 4G 8G" -- "$1")) ;;
    --package | --root-password | --hostname) COMPREPLY=() ;;
    build) COMPREPLY=($(compgen -W "debian:11 debian:12 debian:13" -- "$1")) ;;
    image) COMPREPLY=($(compgen -W "build" -- "$1")) ;;
    *) COMPREPLY=($(compgen -W "-o --size --package --root-password --hostname --force --help" -- "$1")) ;;
  esac
}

_vireo_disk() {
  case $2 in
    disk) COMPREPLY=($(compgen -W "create convert info check resize snapshot bitmap rebase commit mirror map bench mount serve" -- "$1")) ;;
    snapshot) COMPREPLY=($(compgen -W "list create apply delete" -- "$1")) ;;
    bitmap) COMPREPLY=($(compgen -W "list add remove clear enable disable merge" -- "$1")) ;;
    -f | -O | -F | --format | --output | --backing-format)
      COMPREPLY=($(compgen -W "raw qcow2 vpc vhdx vdi vmdk luks" -- "$1")) ;;
    --subformat) COMPREPLY=($(compgen -W "dynamic fixed monolithicSparse streamOptimized monolithicFlat" -- "$1")) ;;
    -r | --repair) COMPREPLY=($(compgen -W "leaks all" -- "$1")) ;;
    *) COMPREPLY=($(compgen -f -- "$1")); compopt -o filenames ;;
  esac
}

_vireo_names() {
  "${COMP_WORDS[0]}" list 2>/dev/null | awk 'NR > 1 { print $1 }'
}

_vireo() {
  local cur prev words cword i
  if declare -F _init_completion >/dev/null; then
    _init_completion -n =: || return
  else
    cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} words=("${COMP_WORDS[@]}") cword=$COMP_CWORD
  fi
  for ((i = 2; i < cword; i++)); do # after -- comes the guest's command
    [ "${words[i]}" != -- ] || { COMPREPLY=(); return; }
  done
  case $cword:${words[1]} in
    1:*) COMPREPLY=($(compgen -W "run list info stats pause resume stop snapshot restore fork tree image disk help version" -- "$cur")) ;;
    *:list) COMPREPLY=($(compgen -W "--json --help" -- "$cur")) ;;
    *:info | *:stats | *:pause | *:resume | *:stop) COMPREPLY=($(compgen -W "$(_vireo_names) --help" -- "$cur")) ;;
    *:snapshot) COMPREPLY=($(compgen -W "$(_vireo_names) -o --diff --json --help" -- "$cur")) ;;
    *:restore) COMPREPLY=($(compgen -d -- "$cur") $(compgen -W "--name --engine --serial --paused --keep-clocks --verify --track-dirty --jail --json --help" -- "$cur")) ;;
    *:fork) COMPREPLY=($(compgen -W "$(_vireo_names) -n --name --serial --json --help" -- "$cur")) ;;
    *:tree) COMPREPLY=($(compgen -W "--json --help" -- "$cur")) ;;
    *:run) _vireo_run "$cur" "$prev" ;;
    *:image) _vireo_image "$cur" "$prev" ;;
    *:disk) _vireo_disk "$cur" "$prev" ;;
  esac
  ! declare -F __ltrim_colon_completions >/dev/null || __ltrim_colon_completions "$cur"
}
complete -F _vireo vireo
