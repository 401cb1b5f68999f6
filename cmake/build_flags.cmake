# Every target of ours links build_flags; nothing else sets compiler flags.
add_library(build_flags INTERFACE)
target_include_directories(build_flags INTERFACE ${PROJECT_SOURCE_DIR})
target_compile_definitions(build_flags INTERFACE _GNU_SOURCE
  $<$<BOOL:${WORKER_FAILPOINTS}>:WORKER_FAILPOINTS>)
target_compile_options(build_flags INTERFACE
  -include ${PROJECT_SOURCE_DIR}/common/banned.h
  -Wall -Wextra -Wpedantic -Wconversion -Wsign-conversion -Wshadow -Wformat=2
  -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wundef -Wcast-qual
  -Wwrite-strings -Wimplicit-fallthrough -Wswitch-enum -Walloca
  -Wno-overlength-strings # embedded SQL files are long string constants
  -Werror=format-security -Werror=implicit-function-declaration
  -Werror=incompatible-pointer-types -Werror=int-conversion
  $<$<C_COMPILER_ID:GNU>:-Wlogical-op -Wduplicated-cond -Wjump-misses-init>
  -UNDEBUG # assertions stay on in every build
  -fno-common -fstack-protector-strong -fstack-clash-protection)
target_link_options(build_flags INTERFACE
  -Wl,-z,relro -Wl,-z,now -Wl,-z,noexecstack -Wl,--as-needed)

# A jump into the middle of a function ends the program, where the processor can tell. To
# clang, another processor's flag is no error but one that is not used.
include(CheckCCompilerFlag)
set(CMAKE_REQUIRED_FLAGS -Werror)
foreach(flag -fcf-protection=full -mbranch-protection=standard)
  string(MAKE_C_IDENTIFIER "HAS_${flag}" known)
  check_c_compiler_flag(${flag} ${known})
  if(${known})
    target_compile_options(build_flags INTERFACE ${flag})
  endif()
endforeach()
unset(CMAKE_REQUIRED_FLAGS)
# Optimised builds do not say where they were made; debuggers find the sources from the tree's root.
target_compile_options(build_flags INTERFACE
  $<$<CONFIG:Release,RelWithDebInfo>:-ffile-prefix-map=${PROJECT_SOURCE_DIR}/=>
  $<$<CONFIG:Release,RelWithDebInfo>:-ffile-prefix-map=${PROJECT_BINARY_DIR}=build>)

if(WORKER_SANITIZE)
  target_compile_options(build_flags INTERFACE
    -fsanitize=${WORKER_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_link_options(build_flags INTERFACE -fsanitize=${WORKER_SANITIZE})
else()
  target_compile_definitions(build_flags INTERFACE
    $<$<CONFIG:Release,RelWithDebInfo>:_FORTIFY_SOURCE=3>)
endif()
